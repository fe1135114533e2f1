package check

import (
	"io"
	"net"
	"strings"
	"testing"

	"dataflux-func-sidecar/internal/config"
)

// A server that closes each connection at once may do so before, during or after the request.
func TestAnswers_ConnectionClosedAtOnce(t *testing.T) {
	for name, greeting := range map[string]string{"silent": "", "talkative": "hello\n"} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, greeting)
					_ = conn.Close()
				}
			}()
			bind, err := config.ParseBind(listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c := &checker{Options: Options{UnitDir: SystemUnits}}
			const want = "something else than a Sidecar answers"
			for range 300 {
				if got := c.checkAnswer(bind[0]); !strings.Contains(got.Message, want) {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
		})
	}
}
