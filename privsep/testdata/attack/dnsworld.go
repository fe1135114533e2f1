package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// dnsWorld runs in mount and network namespaces of its own. It makes /etc and /run with two name
// servers, runs a sandboxed resolver, and renames a new resolv.conf into place while that one runs.
// Its argument is the path of the resolv.conf; /etc/resolv.conf is a link if that lies elsewhere.
func dnsWorld(args []string) error {
	target := args[0]
	if err := makeWorld(target); err != nil {
		return err
	}
	for _, server := range []string{"127.0.0.1", "127.0.0.2"} {
		if err := answerWith(server); err != nil {
			return err
		}
	}
	child := exec.Command("/proc/self/exe", "in", "both", "resolve")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	answers := bufio.NewScanner(out)
	ask := func(name string) string {
		fmt.Fprintln(in, name)
		answers.Scan()
		return answers.Text()
	}
	before := ask("callback.example.")
	if err := replaceByRename(target, "nameserver 127.0.0.2\n", time.Now().Add(time.Second)); err != nil {
		return err
	}
	// The resolver looks at the file again when five seconds have passed since it last did.
	after := before
	for range 3 {
		time.Sleep(5100 * time.Millisecond)
		if after = ask("callback.example."); after != before {
			break
		}
	}
	fmt.Println(before)
	fmt.Println(after)
	fmt.Println(ask("fromhosts"))
	in.Close()
	return child.Wait()
}

func makeWorld(target string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/run"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/run/systemd/resolve", 0o755); err != nil {
		return err
	}
	if target != "/etc/resolv.conf" {
		if err := os.Symlink(target, "/etc/resolv.conf"); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/etc/hosts", []byte("127.0.0.9 fromhosts\n"), 0o644); err != nil {
		return err
	}
	if err := replaceByRename(target, "nameserver 127.0.0.1\n", time.Now()); err != nil {
		return err
	}
	return loopbackUp()
}

// replaceByRename gives the file its time explicitly: the kernel's own can be the same for two files
// of one moment, and the resolver takes those for one.
func replaceByRename(path, text string, modified time.Time) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.Chtimes(path+".new", modified, modified); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// answerWith starts a name server that answers every question with its own address, and with
// nothing where IPv6 is asked for.
func answerWith(server string) error {
	address := net.ParseIP(server).To4()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: address, Port: 53})
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 512)
		for {
			n, peer, err := conn.ReadFromUDP(buffer)
			if err != nil || n < 12 {
				return
			}
			_, _ = conn.WriteToUDP(dnsAnswer(buffer[:n], address), peer)
		}
	}()
	return nil
}

// dnsAnswer copies the question and adds one record of type A.
func dnsAnswer(query []byte, address net.IP) []byte {
	end := 12
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	answer := append([]byte{}, query[:end]...)
	copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if query[end-3] == 1 {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, address...)
	}
	return answer
}
