package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"dataflux-func-sidecar/listener"
	"dataflux-func-sidecar/nowait"
	"dataflux-func-sidecar/privsep"
	"dataflux-func-sidecar/privsep/message"
)

// networkCommand is how the executor starts the network role. It is of no use to people: without the
// channel and the sockets that it inherits, it ends.
const networkCommand = "network"

// networkArguments starts stage one of the role with a number of listening sockets.
func networkArguments(listeners int) []string {
	return []string{"dataflux-func-sidecar", networkCommand, strconv.Itoa(listeners)}
}

// runNetwork is the network role. Stage one has the number of sockets as its argument, stage two the
// version of Landlock behind it.
func runNetwork(args []string, stderr io.Writer) int {
	if err := network(args, stderr); err != nil {
		fmt.Fprintf(stderr, "dataflux-func-sidecar: network role: %v\n", err)
		return 1
	}
	return 0
}

func network(args []string, stderr io.Writer) error {
	numbers, err := parseNumbers(args)
	if err != nil {
		return err
	}
	if len(numbers) == 1 {
		return confine(args[0], stderr)
	}
	return serveConfined(numbers[0], numbers[1])
}

func parseNumbers(args []string) ([]int, error) {
	if len(args) < 1 || len(args) > 2 {
		return nil, errors.New("this command is started by `serve` only")
	}
	var numbers []int
	for _, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 || n > 1000 {
			return nil, errors.New("this command is started by `serve` only")
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// confine is stage one: it gives up files for good and executes the program anew.
func confine(listeners string, stderr io.Writer) error {
	landlock, err := privsep.EnterLandlock()
	if err != nil {
		return err
	}
	if landlock.Missing != nil {
		fmt.Fprintf(stderr, "dataflux-func-sidecar: network role: %v\n", landlock.Missing)
	}
	return landlock.Reexec([]string{os.Args[0], networkCommand, listeners, strconv.Itoa(landlock.ABI)}, []string{})
}

// serveConfined is stage two: the sandbox closes before the first byte from the network is read.
func serveConfined(count, landlock int) error {
	// This role moves bytes, and the other one runs the commands. On two cores, one for Go code here
	// took 40 % off its processor time: more only wake each other for nothing.
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	listeners, err := inheritedListeners(count)
	if err != nil {
		return err
	}
	if landlock > 0 {
		if err := privsep.LandlockInForce(); err != nil {
			return err
		}
	}
	if err := syscall.SetNonblock(privsep.ChannelFD, true); err != nil { // else each read of it takes a thread
		return fmt.Errorf("the channel is missing: %w", err)
	}
	channel, err := nowait.NewStream(os.NewFile(privsep.ChannelFD, "channel"))
	if err != nil {
		return fmt.Errorf("the channel is missing: %w", err)
	}
	if err := privsep.InstallSeccomp(); err != nil {
		return err
	}
	conn := message.NewConn(channel, message.FromExecutor())
	var memory idleMemory
	return listener.NewRole(conn, banner(), memory.tick).Run(listeners, landlock)
}

func inheritedListeners(count int) ([]net.Listener, error) {
	var listeners []net.Listener
	for i := range count {
		f := os.NewFile(uintptr(privsep.FirstListenerFD+i), "listener")
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("cannot use listening socket %d: %w", i+1, err)
		}
		_ = f.Close()
		listeners = append(listeners, l)
	}
	return listeners, nil
}
