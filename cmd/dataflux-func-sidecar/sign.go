package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/sign"
)

const signUsage = `sign [OPTIONS] [METHOD] URL [BODY]

Prints a signed request as a configuration for curl. It can be sent once, within the time window:

  dataflux-func-sidecar sign http://127.0.0.1:8099/shell '{"command":"hostname"}' | curl --config -

METHOD is POST if there is a BODY, else GET. The key comes from the configuration.`

func runSign(args []string, t terminal) int {
	flags := t.newFlags("sign", signUsage)
	path := flags.String("config", defaultConfig, "the configuration `FILE` that holds the key")
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return refuseUsage(err, 2)
	}
	call, err := parseCall(arguments)
	if err != nil {
		t.say("sign: %v", err)
		return 2
	}
	settings, err := config.Load(*path)
	if err != nil {
		t.say("sign: %v", err)
		return 1
	}
	fmt.Fprint(t.stdout, call.curlConfig(settings.Keys[0], time.Now()))
	return 0
}

// call is a request to be signed.
type call struct {
	method string
	url    *url.URL
	body   string
}

func parseCall(args []string) (call, error) {
	c := call{method: "GET"}
	if len(args) > 0 && !strings.Contains(args[0], ":") {
		c.method = strings.ToUpper(args[0])
		args = args[1:]
	} else if len(args) == 2 {
		c.method = "POST"
	}
	if len(args) < 1 || len(args) > 2 {
		return c, errors.New("give a URL, and a body in one argument if there is one; see --help")
	}
	if len(args) == 2 {
		c.body = args[1]
	}
	u, err := url.Parse(args[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return c, errors.New("the URL must be like http://127.0.0.1:8099/shell")
	}
	if u.RawQuery != "" || u.ForceQuery {
		return c, errors.New("the URL has a query, which no signature covers: send its content in the body")
	}
	c.url = u
	return c, nil
}

// curlConfig is in the format of curl's --config: one option a line, its value in quotes.
func (c call) curlConfig(key []byte, now time.Time) string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	path := c.url.EscapedPath()
	if path == "" {
		path = "/"
	}
	request := sign.Request{
		Method: c.method, Path: path, Nonce: hex.EncodeToString(nonce[:]), Timestamp: fmt.Sprint(now.Unix()), Body: []byte(c.body),
	}
	lines := []string{
		"silent", "show-error", "path-as-is",
		option("url", c.url.String()),
		c.methodOption(),
		option("header", "X-Auth-Nonce: "+request.Nonce),
		option("header", "X-Auth-Timestamp: "+request.Timestamp),
		option("header", "X-Auth-Signature: "+sign.Signature(key, request)),
	}
	if c.body != "" {
		lines = append(lines, option("header", "Content-Type: application/json"), option("data-raw", c.body))
	}
	return strings.Join(lines, "\n") + "\n"
}

// methodOption asks for a HEAD in the way in which curl does not wait for the body that never comes.
func (c call) methodOption() string {
	if c.method == "HEAD" && c.body == "" {
		return "head"
	}
	return option("request", c.method)
}

func option(name, value string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\v", `\v`).Replace(value)
	return fmt.Sprintf(`%s = "%s"`, name, escaped)
}
