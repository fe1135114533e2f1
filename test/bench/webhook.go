package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// webhook runs one command per request with a signed body, and answers with its output. It keeps no
// nonces, so a request can be replayed, and writes no journal, which saves it work.
type webhook struct {
	address, key string
	log          string // a file
	command      *exec.Cmd
}

// signHook signs the body alone, as webhook wants it.
func signHook(hook string, key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return fmt.Appendf(
		nil,
		"POST /hooks/%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"+
			"X-Hub-Signature: sha256=%x\r\nContent-Length: %d\r\n\r\n%s",
		hook,
		mac.Sum(nil),
		len(body),
		body,
	)
}

func startWebhook(user, folder string, arguments ...string) (*webhook, error) {
	program, err := exec.LookPath("webhook")
	if err != nil {
		return nil, errors.New("it is not installed: apt-get install webhook")
	}
	w := &webhook{key: rand.Text(), log: filepath.Join(folder, "log")}
	if w.address, err = freeAddress(); err != nil {
		return nil, err
	}
	hooks := filepath.Join(folder, "hooks.json")
	if err := w.writeHooks(hooks); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(w.address)
	log, err := os.Create(w.log)
	if err != nil {
		return nil, fmt.Errorf("cannot keep its log: %w", err)
	}
	defer func() { _ = log.Close() }()
	w.command = exec.Command(program, append(arguments, "-hooks", hooks, "-ip", "127.0.0.1", "-port", port)...)
	w.command.Stdout, w.command.Stderr = log, log
	w.command.Dir, w.command.Env = "/", workerEnvironment(user)
	if w.command.SysProcAttr, err = childAttributes(user); err != nil {
		return nil, err
	}
	if err := w.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start it: %w", err)
	}
	if err := awaitWelcome(w.address); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

func (w *webhook) writeHooks(path string) error {
	type values map[string]any
	signed := values{"match": values{
		"type": "payload-hmac-sha256", "secret": w.key,
		"parameter": values{"source": "header", "name": "X-Hub-Signature"},
	}}
	hooks, err := json.Marshal([]values{
		{
			"id":                                 "run",
			"execute-command":                    "/bin/sh",
			"http-methods":                       []string{"POST"},
			"include-command-output-in-response": true,
			"pass-arguments-to-command": []values{
				{"source": "string", "name": "-c"}, {"source": "payload", "name": "command"},
			},
			"trigger-rule": signed,
		},
		{ // for the facts: one command, and a pattern for its value
			"id": "hello", "execute-command": "/bin/echo", "http-methods": []string{"POST"},
			"include-command-output-in-response":       true,
			"trigger-rule-mismatch-http-response-code": 403,
			"pass-arguments-to-command": []values{
				{"source": "string", "name": "hello"}, {"source": "payload", "name": "version"},
			},
			"trigger-rule": values{"and": []values{signed, {"match": values{
				"type": "regex", "regex": "^v[0-9.]+$",
				"parameter": values{"source": "payload", "name": "version"},
			}}}},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot configure it: %w", err)
	}
	if err := os.WriteFile(path, hooks, 0o644); err != nil {
		return fmt.Errorf("cannot configure it: %w", err)
	}
	return nil
}

func (w *webhook) serving() []process { return []process{process(w.command.Process.Pid)} }

func (w *webhook) stop() {
	_ = w.command.Process.Signal(syscall.SIGKILL) // no command is running
	_ = w.command.Wait()
}
