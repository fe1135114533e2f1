package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// defaultAddress is the first of the addresses that an installation without arguments listens on.
const defaultAddress = "127.0.0.1:8099"

// client signs as docs/protocol.md says. It shares no code with the daemon, so that the daemon's
// code does not verify itself.
type client struct {
	m       *machine
	key     string
	network string
	address string
	http    *http.Client
}

type shellAnswer struct {
	OK      bool
	Message string
	Data    *struct {
		Stdout, Stderr string
		ExitCode       *int
		Signal         string
		TimedOut       bool
		JobID          string
	}
}

// client returns a client for the address, with the key of the machine's configuration. Each call
// uses a new connection, so that it depends on the listening socket.
func (m *machine) client(address string) *client {
	m.t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c := &client{m: m, key: m.secretKey(), network: network, address: address}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return m.dial(ctx, network, address) }
	c.http = &http.Client{
		Timeout:   testkit.Patience,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}
	return c
}

var keyLine = regexp.MustCompile(`(?m)^SECRET_KEY *= *"([^"]+)"`)

func (m *machine) secretKey() string {
	m.t.Helper()
	text := m.run("cat", "/etc/dataflux-func-sidecar")
	match := keyLine.FindStringSubmatch(text)
	if match == nil {
		m.t.Fatal("no SECRET_KEY in the configuration")
	}
	return match[1]
}

func signature(key, method, path, nonce, timestamp string, body []byte) string {
	mac := hmac.New(sha1.New, []byte(key))
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n%s", method, path, nonce, timestamp, body)
	return strings.ToUpper(hex.EncodeToString(mac.Sum(nil)))
}

func newNonce() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	return hex.EncodeToString(nonce[:])
}

func (c *client) request(method, path string, body []byte) (*http.Request, error) {
	host := c.address
	if c.network == "unix" {
		host = "localhost"
	}
	request, err := http.NewRequest(method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	nonce, timestamp := newNonce(), strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auth-Nonce", nonce)
	request.Header.Set("X-Auth-Timestamp", timestamp)
	request.Header.Set("X-Auth-Signature", signature(c.key, method, path, nonce, timestamp, body))
	return request, nil
}

// post sends one signed POST /shell.
func (c *client) post(body map[string]any) (status int, answer shellAnswer, err error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, answer, err
	}
	request, err := c.request("POST", "/shell", raw)
	if err != nil {
		return 0, answer, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, answer, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return response.StatusCode, answer, fmt.Errorf("cannot read the answer %q: %w", text, err)
	}
	return response.StatusCode, answer, nil
}

// shell runs a command, which must be answered, and returns its output without the last newline.
func (c *client) shell(t *testing.T, command string) string {
	t.Helper()
	answer := c.answer(t, map[string]any{"command": command})
	return strings.TrimRight(answer.Data.Stdout, "\n")
}

func (c *client) answer(t *testing.T, body map[string]any) shellAnswer {
	t.Helper()
	status, answer, err := c.post(body)
	if err != nil {
		t.Fatalf("%v: %v", body["command"], err)
	}
	if status != http.StatusOK || !answer.OK || answer.Data == nil {
		t.Fatalf("%v: status %d, message %q", body["command"], status, answer.Message)
	}
	return answer
}

// signedGet sends a GET as the generic call of the stock client does.
func (c *client) signedGet(path string) (status int, text string, err error) {
	return c.signed("GET", path, "null")
}

// signed sends one signed request.
func (c *client) signed(method, path, body string) (status int, text string, err error) {
	request, err := c.request(method, path, []byte(body))
	if err != nil {
		return 0, "", err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, string(answer), err
}

// get sends an unsigned GET.
func (c *client) get(path string) (status int, text string, err error) {
	response, err := c.http.Get("http://" + strings.ReplaceAll(c.address, "/", "") + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func TestClient_SignsAsTheStockClient(t *testing.T) {
	got := signature("0123456789abcdef", "POST", "/shell", "4a3396655598402bb572df631e6bea36", "1795406403",
		[]byte(`{"command":"hostname","wait":true}`))
	if want := "BB8B987AD37B2F69418412D7A6659898F9228396"; got != want {
		t.Fatalf("got %s, the stock client sent %s", got, want)
	}
}
