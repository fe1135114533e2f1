package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/listener"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

// NetworkCommand is the hidden subcommand that is the network role. Started by hand it ends at
// once, as it lacks the channel and the sockets.
const NetworkCommand = "network"

// maxArgument bounds the numeric arguments of NetworkCommand: no host has more processors or
// sockets.
const maxArgument = 1 << 16

// startNetworkProcess executes stage one of the network role. Lines that it prints on standard
// error go to the log, quoted.
func startNetworkProcess(
	thread *privsep.ForkThread, sockets []socket, log *journal.Log,
) (*privsep.Role, error) {
	arguments := []string{"dataflux-func-sidecar", NetworkCommand, strconv.Itoa(len(sockets))}
	return thread.StartRole(arguments, filesOf(sockets), sayOf(log))
}

func sayOf(log *journal.Log) func(line string) {
	return func(line string) {
		log.Write(journal.Degraded(), "The network role says: "+journal.Quote(line, 2048), nil)
	}
}

// RunNetwork is the network role. The argument of stage one is the number of sockets; stage two has
// also the Landlock version and the number of processors that stage one found. Welcome is what GET
// / answers. It returns the exit status.
func RunNetwork(args []string, welcome string, stderr io.Writer) int {
	IgnoreClosedReaders()
	numbers, err := parseNumbers(args)
	switch {
	case err != nil:
	case len(numbers) == 1:
		err = confineNetwork(args[0], stderr)
	default:
		err = serveConfined(numbers[0], numbers[1], numbers[2], welcome)
	}
	if err != nil {
		writeWithin(stderr, "%v\n", err)
		return 1
	}
	return 0
}

func parseNumbers(args []string) ([]int, error) {
	errArguments := errors.New("this command is started by `serve` only")
	if len(args) != 1 && len(args) != 3 {
		return nil, errArguments
	}
	var numbers []int
	for _, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 || n > maxArgument {
			return nil, errArguments
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// confineNetwork is stage one: it enters Landlock, which gives up files for good, and executes the
// program again. It returns on failure only.
func confineNetwork(sockets string, stderr io.Writer) error {
	processors := runtime.GOMAXPROCS(0) // of the cgroup's quota, whose files stage two cannot read
	if err := privsep.ProveRole(); err != nil {
		return err
	}
	landlock, err := privsep.EnterLandlock()
	if err != nil {
		return err
	}
	if landlock.Missing != nil {
		writeWithin(stderr, "%v\n", landlock.Missing)
	}
	stageTwo := []string{
		os.Args[0], NetworkCommand, sockets, strconv.Itoa(landlock.ABI), strconv.Itoa(processors),
	}
	return landlock.Reexec(stageTwo, []string{})
}

// serveConfined is stage two: the sandbox is complete before the first byte of the network is read.
func serveConfined(sockets, landlock, processors int, welcome string) error {
	// This role moves bytes, and the other one runs the commands. On two cores, one thread for Go
	// code here saved 40 % of its processor time: more threads only wake each other.
	runtime.GOMAXPROCS(max(1, processors/2))
	listeners, err := privsep.InheritListeners(privsep.FirstListenerFD, sockets)
	if err != nil {
		return err
	}
	if landlock > 0 {
		if err := privsep.LandlockInForce(); err != nil {
			return err
		}
	}
	// A blocking channel would take a thread for each read.
	if err := syscall.SetNonblock(privsep.ChannelFD, true); err != nil {
		return fmt.Errorf("the channel is missing: %w", err)
	}
	if err := privsep.InstallSeccomp(listeners); err != nil {
		return err
	}
	conn := message.NewConn(os.NewFile(privsep.ChannelFD, "channel"), message.FromExecutor())
	var memory idleMemory
	var accepting []net.Listener
	for _, l := range listeners {
		accepting = append(accepting, l)
	}
	return listener.NewRole(conn, welcome, memory.tick).Run(accepting, landlock)
}
