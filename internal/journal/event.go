package journal

import "github.com/coreos/go-systemd/v22/journal"

// Event is a kind of entry. ID is its MESSAGE_ID: operators select entries by it, and the catalog
// in units/ explains it. It never changes once released.
//
// The functions below are the table of events, in the order of the catalog. A new event needs a
// fresh id (journalctl --new-id128) and an entry of the catalog in both languages.
type Event struct {
	ID       string
	Priority journal.Priority
}

// Ready says that the daemon serves.
func Ready() Event { return Event{"ad9b48c2ed8f4867a2d86965fd62606e", journal.PriNotice} }

// Stopping says that the daemon drains, and how many commands did not end in time.
func Stopping() Event { return Event{"29001821ae7d4afc8ab696d41d9fc38b", journal.PriNotice} }

// Stopped is the last entry of a daemon that ends in order.
func Stopped() Event { return Event{"416657f4c21c4b7d9900f1788c04b4c1", journal.PriNotice} }

// StartFailed is the last entry of a daemon that refuses to serve.
func StartFailed() Event { return Event{"263815be79ff4c408d50b34f3608c59b", journal.PriErr} }

// Degraded says that a protection, an address or the state is not as configured, and the daemon
// goes on.
func Degraded() Event { return Event{"26ed16d572ea42128af32192d48e2d25", journal.PriWarning} }

// Reloaded says that the daemon goes on with what a reload brought.
func Reloaded() Event { return Event{"67fa78a7ef254f9c93787e1c5015dbdf", journal.PriNotice} }

// ReloadRefused says why the daemon goes on as before a reload.
func ReloadRefused() Event { return Event{"39b94bb52592438b98b4a5cd629d9ba9", journal.PriErr} }

// ReloadTriggered says that systemd is asked for a reload, as SIGHUP has arrived.
func ReloadTriggered() Event { return Event{"1c7da595277f49c9bac570cca1fa466b", journal.PriNotice} }

// RoleStarted says that the network role serves.
func RoleStarted() Event { return Event{"69362f8f6b224971bb5b16dbde62865f", journal.PriInfo} }

// RoleEnded says that the network role ended. Callers that were connected get no answer.
func RoleEnded() Event { return Event{"46e27be4553144eea1a96f5cde74a597", journal.PriErr} }

// RoleReplaced says that a reload has replaced the network role, and later that the former one has
// ended.
func RoleReplaced() Event { return Event{"52a3c69638b245239c91bc50a2a11fbb", journal.PriInfo} }

// CommandAccepted says what is about to be started, with AUDIT = "required".
func CommandAccepted() Event { return Event{"2b1bcf30aea6419d90c0b2d97cfe990b", journal.PriInfo} }

// CommandStarted says that a command runs.
func CommandStarted() Event { return Event{"2606ebd9a1b34c3d884000934704ae6c", journal.PriInfo} }

// CommandFinished is the last entry of a command that ended by itself.
func CommandFinished() Event { return Event{"c8465b1b1c1042caa73dba034f435a39", journal.PriInfo} }

// CommandEnded is the last entry of a command that the daemon ended or did not start.
func CommandEnded() Event { return Event{"1955413511664889a4f4497bd1be6ad0", journal.PriWarning} }

// CommandSignalled says that a caller sent a command a signal, and which one.
func CommandSignalled() Event {
	return Event{"597c72ea417043d6b768e267dda21585", journal.PriNotice}
}

// RequestRefused says that a request was refused.
func RequestRefused() Event { return Event{"6227697be36d4d3fb02661961c56f265", journal.PriWarning} }

// CallbackDelivered says that a receiver took a callback.
func CallbackDelivered() Event { return Event{"4262af7a4ba64c9b84c958187a673271", journal.PriInfo} }

// CallbackFailed says that an attempt to deliver a callback failed and will be retried.
func CallbackFailed() Event { return Event{"f3633b0b02d5400fb8fecab7c91e9d31", journal.PriWarning} }

// CallbackLost says that a callback will not be delivered.
func CallbackLost() Event { return Event{"cb4e2d4971864b539b7f3515bf14c162", journal.PriErr} }

// CallbackKept says that the daemon stops before a callback is delivered.
func CallbackKept() Event { return Event{"5f3e7d607a5b438cba2137e23143dde7", journal.PriNotice} }

// CallbackResumed says that a callback of an earlier start is delivered now.
func CallbackResumed() Event { return Event{"7513d85293834d8181ab1812e9dba918", journal.PriNotice} }

// TreeHeld says how the daemon contains the processes that commands start.
func TreeHeld() Event { return Event{"c433e9dfebf947d1bd8b985e6ba87653", journal.PriInfo} }

// EntriesLost says how many entries were not written.
func EntriesLost() Event { return Event{"abb76498678543f2b752d5737bbd0434", journal.PriWarning} }
