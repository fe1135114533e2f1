package main

import (
	"bytes"
	"crypto/x509"
	"flag"
	"fmt"
	"os"

	"dataflux-func-sidecar/client"
	"dataflux-func-sidecar/config"
)

// keyVariable holds the key where there is no configuration, as in a container or a CI job.
const keyVariable = "SIDECAR_SECRET_KEY"

// targetOptions say which Sidecar is called, and where the key comes from. It is never an argument: ps shows
// those to everybody.
type targetOptions struct {
	url, config, keyFile, ca string
	configGiven              bool
}

func (o *targetOptions) register(flags *flag.FlagSet) {
	flags.Func("url", "`URL` of the Sidecar: http://HOST:PORT, https://HOST:PORT or unix:/PATH (default: BIND of the configuration)", text(&o.url))
	flags.Func("config", "configuration `FILE` with the key and BIND (default "+defaultConfig+")", func(path string) error {
		o.config, o.configGiven = path, true
		return nil
	})
	flags.Func("secret-key-file", "`FILE` with the key alone, - for standard input (default: "+keyVariable+" of the environment, else the configuration)", text(&o.keyFile))
	flags.Func("ca", "`FILE` with the certificates (PEM) of the authorities to trust for https (default: those of this host)", text(&o.ca))
	o.config = defaultConfig
}

// connect makes the client, and tells where its key came from.
func (o *targetOptions) connect(t terminal) (*client.Client, string, error) {
	target, err := o.target()
	if err != nil {
		return nil, "", err
	}
	key, source, err := o.key(t)
	if err != nil {
		return nil, "", err
	}
	return client.New(target, key), source, nil
}

func (o *targetOptions) target() (client.Target, error) {
	if o.url == "" {
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
	target, err := client.ParseTarget(o.url)
	if err != nil {
		return target, fmt.Errorf("--url %w", err)
	}
	return o.trust(target)
}

func (o *targetOptions) trust(target client.Target) (client.Target, error) {
	if o.ca == "" {
		return target, nil
	}
	text, err := os.ReadFile(o.ca)
	if err != nil {
		return target, fmt.Errorf("--ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return target, fmt.Errorf("--ca: %s holds no certificate in the PEM form (-----BEGIN CERTIFICATE-----)", o.ca)
	}
	return target.WithRoots(roots), nil
}

// key takes the most explicit source that there is.
func (o *targetOptions) key(t terminal) (config.Key, string, error) {
	switch variable, found := os.LookupEnv(keyVariable); {
	case o.keyFile == "-":
		key, err := readKey(t.stdin)
		return key, "standard input", describeKey("the key on standard input", err)
	case o.keyFile != "":
		key, err := keyOfFile(o.keyFile)
		return key, o.keyFile, describeKey("--secret-key-file: the key", err)
	case found && !o.configGiven:
		key, err := config.ParseKey(variable)
		return key, keyVariable, describeKey(keyVariable, err)
	}
	settings, err := config.Load(o.config)
	if err != nil {
		return nil, "", fmt.Errorf("%w (or give the key with --secret-key-file, or in %s)", err, keyVariable)
	}
	return settings.Keys[0], o.config, nil
}

func keyOfFile(path string) (config.Key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return readKey(bytes.NewReader(text))
}

func describeKey(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", what, err)
}
