package journal

import "github.com/coreos/go-systemd/v22/journal"

// Event is a kind of entry. ID is its MESSAGE_ID, by which operators find all entries of the kind;
// it never changes once released.
type Event struct {
	ID       string
	Priority journal.Priority
}

// Ready and its companions are the daemon's own life.
func Ready() Event    { return Event{"ad9b48c2ed8f4867a2d86965fd62606e", journal.PriNotice} }
func Stopping() Event { return Event{"29001821ae7d4afc8ab696d41d9fc38b", journal.PriNotice} }
func Stopped() Event  { return Event{"416657f4c21c4b7d9900f1788c04b4c1", journal.PriNotice} }

// StartFailed is the last entry of a daemon that refuses to serve.
func StartFailed() Event { return Event{"263815be79ff4c408d50b34f3608c59b", journal.PriErr} }

// Degraded is a protection or address that is not as configured, while the daemon goes on.
func Degraded() Event { return Event{"26ed16d572ea42128af32192d48e2d25", journal.PriWarning} }

// RoleStarted and RoleEnded are the network role's life; callers connected at its end get no answer.
func RoleStarted() Event { return Event{"69362f8f6b224971bb5b16dbde62865f", journal.PriInfo} }
func RoleEnded() Event   { return Event{"46e27be4553144eea1a96f5cde74a597", journal.PriErr} }

// CommandStarted and CommandFinished frame each command, by its job id.
func CommandStarted() Event  { return Event{"2606ebd9a1b34c3d884000934704ae6c", journal.PriInfo} }
func CommandFinished() Event { return Event{"c8465b1b1c1042caa73dba034f435a39", journal.PriInfo} }

// CommandEnded is a command that the daemon ended: timeout, cancellation or stop.
func CommandEnded() Event { return Event{"1955413511664889a4f4497bd1be6ad0", journal.PriWarning} }

// RequestRefused is a request that was not carried out.
func RequestRefused() Event { return Event{"6227697be36d4d3fb02661961c56f265", journal.PriWarning} }

// CallbackDelivered, CallbackFailed (and will be tried again) and CallbackLost.
func CallbackDelivered() Event { return Event{"4262af7a4ba64c9b84c958187a673271", journal.PriInfo} }

func CallbackFailed() Event { return Event{"f3633b0b02d5400fb8fecab7c91e9d31", journal.PriWarning} }
func CallbackLost() Event   { return Event{"cb4e2d4971864b539b7f3515bf14c162", journal.PriErr} }

// CallbackKept and CallbackResumed are the two ends of a restart for a callback that is not delivered yet.
func CallbackKept() Event    { return Event{"5f3e7d607a5b438cba2137e23143dde7", journal.PriNotice} }
func CallbackResumed() Event { return Event{"7513d85293834d8181ab1812e9dba918", journal.PriNotice} }

// TreeHeld tells how the processes that a command starts are kept within reach.
func TreeHeld() Event { return Event{"c433e9dfebf947d1bd8b985e6ba87653", journal.PriInfo} }

// EntriesLost says how many entries there are not, because the journal hung.
func EntriesLost() Event { return Event{"abb76498678543f2b752d5737bbd0434", journal.PriWarning} }
