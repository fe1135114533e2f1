package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/client"
)

const signUsage = `sign [OPTIONS] [METHOD] URL [BODY]

Prints a signed request as a configuration for curl. It can be sent once, within the time window:

  dataflux-func-sidecar sign http://127.0.0.1:8099/shell '{"command":"hostname"}' | curl --config -

METHOD is POST if there is a BODY, else GET. Without a port the URL means 8099.`

func runSign(args []string, t terminal) int {
	flags := t.newFlags("sign", signUsage)
	var o targetOptions
	o.registerKey(flags, "configuration `FILE` with the key")
	arguments, err := t.parseArguments(flags, args)
	var r request
	if err == nil {
		r, err = parseRequest(arguments)
	}
	if err != nil {
		return t.misused("sign", err, statusUsage)
	}
	key, _, err := o.key(t)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	fmt.Fprint(t.stdout, r.curlConfig(key, time.Now()))
	return 0
}

// request is what is to be signed.
type request struct {
	method string
	url    *url.URL
	body   string
}

func parseRequest(args []string) (request, error) {
	r := request{method: "GET"}
	if len(args) > 0 && !strings.Contains(args[0], ":") {
		r.method = strings.ToUpper(args[0])
		args = args[1:]
	} else if len(args) == 2 {
		r.method = "POST"
	}
	if len(args) < 1 || len(args) > 2 {
		return r, errors.New("give a URL, and a body in one argument if there is one")
	}
	if len(args) == 2 {
		r.body = args[1]
	}
	u, err := url.Parse(args[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return r, errors.New("the URL must be like http://127.0.0.1:8099/shell")
	}
	if u.RawQuery != "" || u.ForceQuery {
		return r, errors.New("the URL has a query, which no signature covers: send it in the body")
	}
	u.Host = client.HostPort(u)
	r.url = u
	return r, nil
}

// curlConfig is in the format of curl's --config: one option a line, its value in quotes.
func (r request) curlConfig(key client.Key, now time.Time) string {
	lines := []string{
		"silent", "show-error", "path-as-is",
		option("url", r.url.String()),
		r.methodOption(),
	}
	for _, h := range key.Sign(r.method, r.url, []byte(r.body), now) {
		lines = append(lines, option("header", h.Name+": "+h.Value))
	}
	if r.body != "" {
		lines = append(lines,
			option("header", "Content-Type: application/json"), option("data-raw", r.body))
	}
	return strings.Join(lines, "\n") + "\n"
}

// methodOption is "head" for HEAD, as curl would wait for a body after "request".
func (r request) methodOption() string {
	if r.method == "HEAD" && r.body == "" {
		return "head"
	}
	return option("request", r.method)
}

func option(name, value string) string {
	escape := strings.NewReplacer(
		`\`, `\\`, `"`, `\"`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\v", `\v`)
	return fmt.Sprintf(`%s = "%s"`, name, escape.Replace(value))
}
