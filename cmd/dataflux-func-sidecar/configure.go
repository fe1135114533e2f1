package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"dataflux-func-sidecar/config"
)

const configureUsage = `configure [OPTIONS]

Creates the configuration with a generated key, or amends the one that is there, and tells systemd of BIND
and ALLOW_SUDO. What is configured stays unless an option changes it.`

// runConfigure creates or amends the configuration and tells systemd of it. It
// says on stderr what it kept, set and generated; the key is shown only with
// --print-summary, on stdout.
func runConfigure(args []string, t terminal) int {
	c := configuring{say: t.stderr}
	flags := t.newFlags("configure", configureUsage)
	flags.StringVar(&c.path, "config", defaultConfig, "configuration `FILE`")
	flags.StringVar(&c.unitDir, "unit-dir", "/etc/systemd/system", "`DIRECTORY` of the systemd units; empty: write none, for a start by hand")
	bind := flags.String("bind", "", "`ADDRESSES` to listen on, separated by commas")
	keyOnStdin := flags.Bool("secret-key-stdin", false, "read the Secret Key as one line from standard input")
	summary := flags.Bool("print-summary", false, "print addresses and Secret Key on standard output at the end")
	arguments, err := t.parseArguments(flags, args)
	if err != nil {
		return refuseUsage(err, 2)
	}
	if len(arguments) > 0 {
		fmt.Fprintln(t.stderr, "configure takes no arguments beside its options: give the key with --secret-key-stdin")
		return 2
	}
	flags.Visit(func(f *flag.Flag) { c.bindGiven = c.bindGiven || f.Name == "bind" })
	c.quiet = *summary
	err = c.take(*bind, *keyOnStdin, t.stdin)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		sayFailures(t.stderr, err)
		return 1
	}
	if *summary {
		fmt.Fprint(t.stdout, summaryText(c.result))
	}
	return 0
}

// configuring is one run of configure.
type configuring struct {
	path, unitDir string
	say           io.Writer

	quiet     bool // whoever called applies the change by itself, as install.sh does
	bindGiven bool
	bind      []config.Address // given with --bind
	key       config.Key       // given on standard input

	original adoption

	result            config.Config // what the configuration says in the end
	bindNote, keyNote string        // what has become of BIND and SECRET_KEY
}

// take checks what was given before anything is read or written.
func (c *configuring) take(bind string, keyOnStdin bool, stdin io.Reader) (err error) {
	if c.bindGiven {
		if c.bind, err = config.ParseBind(bind); err != nil {
			return fmt.Errorf("--bind: %w", err)
		}
	}
	if keyOnStdin {
		if c.key, err = readKey(stdin); err != nil {
			return fmt.Errorf("the Secret Key on standard input %w", err)
		}
	}
	if c.unitDir == "" {
		return nil
	}
	if info, err := os.Stat(c.unitDir); err != nil || !info.IsDir() {
		return fmt.Errorf("--unit-dir: %s is not a directory: give the one in which the systemd units are", c.unitDir)
	}
	return nil
}

// readKey reads one line. More than one is refused, as it is more likely a
// wrong file than a key.
func readKey(stdin io.Reader) (config.Key, error) {
	data, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	return config.ParseKey(string(line))
}

func (c *configuring) run() error {
	if err := c.writeConfig(); err != nil {
		return err
	}
	for _, key := range c.result.Keys {
		if len(key) < config.ShortKey {
			c.note("warning: a Secret Key has fewer than %d bytes: a longer one is harder to guess", config.ShortKey)
		}
	}
	c.warnOfBridge()
	if c.unitDir == "" {
		return nil
	}
	return c.writeDropIns()
}

func (c *configuring) note(format string, args ...any) {
	fmt.Fprintf(c.say, format+"\n", args...)
}

func (c *configuring) writeConfig() error {
	if target, err := filepath.EvalSymlinks(c.path); err == nil {
		c.path = target // a rename would replace the link, not the file
	}
	data, info, err := config.Read(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return c.create()
	}
	if err != nil {
		return err
	}
	if err := config.CheckOwner(c.path, info); err != nil {
		return err
	}
	amended, err := c.adopt(data)
	if err == nil {
		amended, err = c.amend(amended)
	}
	if err != nil {
		return errors.Join(err, errors.New("nothing was changed: mend the file by hand and run this again"))
	}
	if err := c.replace(data, amended, info); err != nil {
		return err
	}
	c.noteAdoption()
	c.noteKept(info)
	c.warnOfShells(amended)
	return nil
}

// replace puts the amended file in place, and closes one that is kept to others.
func (c *configuring) replace(data, amended []byte, info os.FileInfo) (err error) {
	if err := c.backUp(); err != nil {
		return err
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

func (c *configuring) create() error {
	bind, key, keyNote := c.bind, c.key, "set to the given one"
	if bind == nil {
		bind = firstBind()
	}
	if key == nil {
		key, keyNote = config.NewKey(), "generated"
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
	c.noteBridge()
	c.note("SECRET_KEY: %s", keyNote)
	return nil
}

// noteKept says what has become of a file that was there, and warns where
// others could read it until now.
func (c *configuring) noteKept(info os.FileInfo) {
	c.note("BIND: %s: %s", c.bindNote, config.JoinBind(c.result.Bind))
	c.note("SECRET_KEY: %s", c.keyNote)
	if config.CheckMode(c.path, info) != nil {
		c.note("warning: %s had mode %04o and has 0600 now; other users may know the key: set a new one", c.path, info.Mode().Perm())
	}
}

func sayFailures(w io.Writer, err error) {
	for _, failure := range config.Failures(err) {
		fmt.Fprintln(w, failure)
	}
}

// summaryText is the end of an installation as the manual shows it.
func summaryText(c config.Config) string {
	bind := config.JoinBind(c.Bind)
	return "Bind:\n    " + bind + "\n" +
		"Secret Key:\n    " + string(c.Keys[0]) + "\n" +
		"To shutdown:\n    sudo systemctl stop dataflux-func-sidecar\n" +
		"To start:\n    sudo systemctl start dataflux-func-sidecar\n" +
		"\nNow open " + bind + " and have fun!\n"
}
