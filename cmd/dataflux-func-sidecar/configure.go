package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/host"
)

const configureUsage = `configure [OPTIONS]

Creates the configuration with a generated key, or amends the existing one, and tells systemd the
addresses of BIND, and the time that a stop may take. Without an option that changes it, a value
stays as it is. With --apply the service follows at once, in the way that the change needs: nothing,
a reload, or a restart.

  dataflux-func-sidecar configure --add-key deploy --actions deploy,status --apply
  dataflux-func-sidecar configure --rotate-key deploy --apply`

// configureOptions are what the command line asks for.
type configureOptions struct {
	path      string
	unitDir   string // empty: no systemd
	bindGiven bool
	bind      []config.Address // of --bind
	key       config.Key       // of standard input; nil: none was given
	keyOptions
	printSummary bool
	apply        bool
}

// runConfigure creates or amends the configuration and tells systemd of it. It reports on standard
// error which values were kept, set and generated; only --print-summary shows the key.
func runConfigure(args []string, t terminal) int {
	var o configureOptions
	flags := t.newFlags("configure", configureUsage)
	flags.StringVar(&o.path, "config", defaultConfig, "configuration `FILE`")
	flags.StringVar(&o.unitDir, "unit-dir", defaultUnitDir,
		"`DIRECTORY` of the systemd units; empty: write none, for a start by hand")
	bind := flags.String("bind", "", "`ADDRESSES` to listen on, separated by commas")
	keyOnStdin := flags.Bool("secret-key-stdin", false,
		"read the Secret Key as one line from standard input")
	o.registerKeys(flags)
	flags.BoolVar(&o.printSummary, "print-summary", false,
		"print addresses and Secret Key on standard output at the end")
	flags.BoolVar(&o.apply, "apply", false,
		"make systemd and the service follow, also a file that was edited by hand")
	err := t.parseOptions(flags, o.takeNameToAdd(args))
	if errors.Is(err, errArguments) {
		err = fmt.Errorf("%w: give the key with --secret-key-stdin", err)
	}
	if err == nil {
		err = o.keyOptions.check()
	}
	if err == nil && o.apply && (o.path != defaultConfig || o.unitDir != defaultUnitDir) {
		err = errors.New("--apply is for the installed service, not with --config or --unit-dir")
	}
	if err != nil {
		return t.misused("configure", err, statusUsage)
	}
	o.bindGiven = given(flags, "bind")
	if o.path != defaultConfig && !given(flags, "unit-dir") {
		o.unitDir = "" // the installed service has another configuration
	}
	c := configurer{configureOptions: o, out: t.stderr}
	err = c.readValues(*bind, *keyOnStdin, t.stdin)
	if err == nil && o.apply {
		err = checkFutureBind(o.path, *bind, o.bindGiven)
	}
	if err == nil {
		err = c.run()
	}
	if err == nil {
		c.tellKey(t.stdout, o.path)
	}
	if err == nil && o.apply {
		err = (&applier{terminal: t, config: c.path, settings: c.result}).apply()
	}
	if err != nil {
		t.sayErrors(err)
		return statusError
	}
	if o.printSummary {
		fmt.Fprint(t.stdout, summary(c.result))
	}
	return 0
}

// sayErrors reports each of the joined errors on a line of its own.
func (t terminal) sayErrors(err error) {
	for _, failure := range config.Failures(err) {
		t.sayError(failure)
	}
}

// summary is what the manual shows at the end of an installation.
func summary(c config.Config) string {
	bind := config.JoinBind(c.Bind)
	return "Bind:\n    " + bind + "\n" +
		"Secret Key:\n    " + firstKey(c) + "\n" +
		"To shutdown:\n    sudo systemctl stop dataflux-func-sidecar\n" +
		"To start:\n    sudo systemctl start dataflux-func-sidecar\n" +
		"\nNow open " + bind + " and have fun!\n"
}

// configurer is one run of configure.
type configurer struct {
	configureOptions
	out io.Writer

	original          original
	result            config.Config // what the configuration says in the end
	bindNote, keyNote string        // what was done with BIND and SECRET_KEY
	namedNote         string        // what was done with a named key; empty: nothing
	added             config.Key    // a generated one; nil: none
}

// readValues checks the given values before any file is read or written.
func (c *configurer) readValues(bind string, keyOnStdin bool, stdin io.Reader) (err error) {
	if c.bindGiven {
		if c.bind, err = config.ParseBind(bind); err != nil {
			return fmt.Errorf("--bind: %w", err)
		}
	}
	if keyOnStdin {
		key, err := readKey(stdin)
		if err == nil && key.Private != nil {
			err = errors.New("is a private key, which belongs to its caller alone; hint: give " +
				"its public key with --public-key")
		}
		if err != nil {
			return fmt.Errorf("the Secret Key on standard input %w", err)
		}
		c.key = key.Secret
	}
	if c.unitDir == "" {
		return nil
	}
	if info, err := os.Stat(c.unitDir); err != nil || !info.IsDir() {
		return fmt.Errorf("--unit-dir: %s is not a directory: give that of the systemd units",
			c.unitDir)
	}
	return nil
}

func (c *configurer) run() error {
	if err := c.writeConfig(); err != nil {
		return err
	}
	c.warnOfKeys()
	c.warnOfBridge()
	c.warnOfAbsent()
	if c.unitDir == "" {
		return nil
	}
	return c.writeDropIns()
}

func (c *configurer) note(format string, args ...any) {
	fmt.Fprintln(c.out, escape.Lines(fmt.Sprintf(format, args...)))
}

func (c *configurer) warn(format string, args ...any) {
	terminal{stderr: c.out}.warn(format, args...)
}

func (c *configurer) writeConfig() error {
	if target, err := filepath.EvalSymlinks(c.path); err == nil {
		c.path = target // a rename would replace the link, not the file
	}
	data, info, err := config.Read(c.path)
	if errors.Is(err, os.ErrNotExist) && c.dropKey == "" && len(c.named.edits) == 0 {
		return c.create()
	}
	if err != nil {
		return err
	}
	if err := config.CheckOwner(c.path, info); err != nil {
		return err
	}
	amended, err := c.convertOriginal(data)
	if err == nil {
		amended, err = c.amend(amended)
	}
	if err != nil && strings.Contains(err.Error(), "; hint: ") {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if err != nil {
		return errors.Join(err,
			errors.New("nothing was changed\nhint: correct the file by hand and run this again"))
	}
	if err := c.replace(data, amended, info); err != nil {
		return err
	}
	c.noteOriginal()
	c.note("BIND: %s: %s", c.bindNote, config.JoinBind(c.result.Bind))
	c.note("SECRET_KEY: %s", c.keyNote)
	if c.namedNote != "" {
		c.note("KEY.%s: %s", c.named.name, c.namedNote)
	}
	if config.CheckMode(c.path, info) != nil {
		c.warn("%s had mode %04o and has 0600 now; other users may know the key: "+
			"set a new one", c.path, info.Mode().Perm())
	}
	c.warnOfShells(amended)
	return nil
}

// create writes a first configuration, with a generated key unless one was given.
func (c *configurer) create() error {
	bind, key, keyNote := c.bind, c.key, "set to the given one"
	if bind == nil {
		var err error
		if bind, err = firstBind(); err != nil {
			return err
		}
	}
	if key == nil {
		key, keyNote = config.NewKey(), "generated"
		if c.addKey {
			c.added = key
		}
	}
	data, err := config.New(bind, key)
	if err != nil {
		return err
	}
	if c.result, err = config.Parse(c.path, data); err != nil {
		return err
	}
	if err := config.WriteFile(c.path, data, 0o600); err != nil {
		return err
	}
	c.note("%s: created", c.path)
	c.note("BIND: set: %s", config.JoinBind(bind))
	if !c.bindGiven && !slices.Equal(bind, config.Default().Bind) {
		c.note("docker0 has %s here instead of %s, so BIND names that",
			host.BridgeAddress(), host.StockBridge)
	}
	c.note("SECRET_KEY: %s", keyNote)
	return nil
}

// amend returns the file with the given values, and parses it as a whole: no file is written with
// which the daemon would not start.
func (c *configurer) amend(data []byte) ([]byte, error) {
	data, err := c.amendBind(data)
	if err != nil {
		return nil, err
	}
	if data, err = c.amendKey(data); err != nil {
		return nil, err
	}
	if c.result, err = config.Parse(c.path, data); err != nil {
		return nil, err
	}
	return data, nil
}

// replace writes the amended file, and closes it to other users.
func (c *configurer) replace(data, amended []byte, info os.FileInfo) (err error) {
	if c.original.data != nil {
		if c.original.backup, err = config.BackUp(c.path, c.original.data); err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
	}
	if !bytes.Equal(amended, data) {
		err = config.WriteFile(c.path, amended, 0o600)
	} else if config.CheckMode(c.path, info) != nil {
		err = os.Chmod(c.path, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot amend the configuration: %w", err)
	}
	return nil
}
