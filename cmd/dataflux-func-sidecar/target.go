package main

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
)

// keyVariable is the environment variable that has the key where there is no configuration, as in a
// container or a CI job.
const keyVariable = "SIDECAR_SECRET_KEY"

// targetOptions say which Sidecar is called, and where the key comes from. The key is never an
// argument, as ps shows arguments to every user.
type targetOptions struct {
	url, config, keyName, keyFile, ca string
	configGiven, quiet                bool
}

func (o *targetOptions) register(flags *flag.FlagSet) {
	o.registerURL(flags, " (default: BIND of the configuration)")
	o.registerKey(flags, "configuration `FILE` with the key and BIND")
	flags.BoolVar(&o.quiet, "quiet", false, "print no notes, only warnings and errors")
}

func (o *targetOptions) registerKey(flags *flag.FlagSet, configText string) {
	o.config = defaultConfig
	configText += " (default " + defaultConfig + ")"
	flags.Func("config", configText, func(path string) error {
		o.config, o.configGiven = path, true
		return nil
	})
	flags.Func("key", "`NAME` of the key of the configuration whose secret signs"+
		" (default: that of SECRET_KEY)", nonEmpty(&o.keyName))
	flags.Func("secret-key-file", "`FILE` with the key alone, a secret or an Ed25519 private key "+
		"(PEM), - for standard input (default: "+keyVariable+" of the environment, else the "+
		"configuration)", nonEmpty(&o.keyFile))
}

func (o *targetOptions) registerURL(flags *flag.FlagSet, suffix string) {
	const urlText = "`URL` of the Sidecar: http://HOST:PORT, https://HOST:PORT or unix:/PATH;" +
		" without a port 8099"
	flags.Func("url", urlText+suffix, nonEmpty(&o.url))
	flags.Func("ca", "`FILE` with the certificates (PEM) of the authorities to trust for https"+
		" (default: those of this host)", nonEmpty(&o.ca))
}

// connect makes the client, and returns where its key came from.
func (o *targetOptions) connect(t terminal) (*client.Client, string, error) {
	target, err := o.target()
	if err != nil {
		return nil, "", err
	}
	key, source, err := o.key(t)
	if err != nil {
		return nil, "", err
	}
	c := client.New(target, key)
	c.OnWait(func() { t.warn("%s", c.WaitHint()) })
	return c, source, nil
}

func (o *targetOptions) target() (client.Target, error) {
	if o.url != "" {
		target, err := client.ParseTarget(o.url)
		if err != nil {
			return target, fmt.Errorf("--url %w", err)
		}
		return o.trust(target)
	}
	settings, err := config.Load(o.config)
	if err != nil {
		return client.Target{}, fmt.Errorf("%w (or name the Sidecar with --url)", err)
	}
	target, err := client.TargetOf(settings, client.UsableAddress(settings.Bind))
	if err != nil || o.ca == "" {
		return target, err
	}
	return o.trust(target.WithCertificate(nil))
}

// trust makes the target accept the authorities of --ca, if there is that option.
func (o *targetOptions) trust(target client.Target) (client.Target, error) {
	if o.ca == "" {
		return target, nil
	}
	text, err := readFile(o.ca)
	if err != nil {
		return target, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return target, fmt.Errorf(
			"--ca: %s holds no certificate in the PEM form (-----BEGIN CERTIFICATE-----)", o.ca)
	}
	return target.WithRoots(roots), nil
}

// key returns the key of the most explicit source, and the name of that source.
func (o *targetOptions) key(t terminal) (key client.Key, source string, err error) {
	variable, found := os.LookupEnv(keyVariable)
	what := ""
	switch {
	case o.keyName != "" && o.keyFile != "":
		return key, "", errors.New("--key and --secret-key-file both say which secret signs: " +
			"give one of them")
	case o.keyName != "":
		return o.namedKey(o.keyName)
	case o.keyFile == "-":
		source, what = "standard input", "the key on standard input"
		key, err = readKey(t.stdin)
	case o.keyFile != "":
		source, what = o.keyFile, "--secret-key-file: the key"
		key, err = readKeyFile(o.keyFile)
	case found && !o.configGiven:
		source, what = keyVariable, keyVariable
		key, err = client.ParseKey([]byte(variable))
	default:
		return o.namedKey(policy.DefaultKey)
	}
	if err != nil {
		return key, "", fmt.Errorf("%s %w", what, err)
	}
	return key, source, nil
}

// namedKey returns the secret of a key of the configuration: the new one during a rotation.
func (o *targetOptions) namedKey(name string) (key client.Key, source string, err error) {
	settings, err := config.Load(o.config)
	if err != nil {
		return key, "", fmt.Errorf("%w (or give the key with --secret-key-file, or in %s)", err,
			keyVariable)
	}
	var known []string
	for _, secret := range settings.Secrets() {
		if secret.Name == name {
			return client.Key{Secret: secret.Key}, describeSource(o.config, name), nil
		}
		known = append(known, secret.Name)
	}
	names := strings.Join(slices.Compact(known), ", ")
	isName := func(k config.NamedKey) bool { return k.Name == name }
	switch {
	case slices.ContainsFunc(settings.NamedKeys, isName), len(known) == 0:
		return key, "", fmt.Errorf("%s has no secret of that key, but PUBLIC_KEYS; hint: give "+
			"the private key with --secret-key-file", o.config)
	case o.keyName == "":
		return key, "", fmt.Errorf("%s has no SECRET_KEY; hint: choose one of its keys with "+
			"--key: %s", o.config, names)
	}
	hint := "its keys are " + names
	if meant := config.Closest(name, known); meant != "" {
		hint = "did you mean " + meant + "?"
	}
	return key, "", fmt.Errorf("%s has no key of the name that --key gives; hint: %s", o.config,
		hint)
}

// describeSource says where a secret of the configuration comes from.
func describeSource(path, name string) string {
	if name == policy.DefaultKey {
		return path
	}
	return "[KEY." + name + "] of " + path
}

// readKeyFile refuses a file to which others than its owner have access, as the configuration and
// Ansible's connection do. A pipe has no mode that matters. The owner is not checked: root may use
// the file of a user.
func readKeyFile(path string) (client.Key, error) {
	file, err := os.Open(path)
	if err != nil {
		return client.Key{}, fmt.Errorf("cannot be read: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return client.Key{}, fmt.Errorf("cannot be read: %w", err)
	}
	if info.Mode().IsRegular() {
		if err := config.CheckMode(path, info); err != nil {
			return client.Key{}, fmt.Errorf("is not private: %w; hint: where the mode cannot be "+
				"changed, give it on standard input: --secret-key-file - <%s", err,
				config.ShellQuote(path))
		}
	}
	return readKey(file)
}

// readKey reads at most 64 KiB: one line, or a private key in PEM. More lines are refused: that is
// a wrong file, not a key.
func readKey(stdin io.Reader) (client.Key, error) {
	data, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return client.Key{}, fmt.Errorf("cannot be read: %w", err)
	}
	return client.ParseKey(data)
}
