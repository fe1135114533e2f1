package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/config/legacy"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/units"
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

// checkFutureBind refuses a BIND that could not be applied, before anything is written.
func checkFutureBind(path, bind string, bindGiven bool) error {
	addresses, err := futureBind(path, bind, bindGiven)
	if err != nil {
		return err
	}
	return checkApply(addresses)
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

// original is a configuration of the original Sidecar that is converted.
type original struct {
	data   []byte // as it was; nil if the file is in our form
	notes  []string
	backup string // path of the copy
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
		c.note("warning: %s had mode %04o and has 0600 now; other users may know the key: "+
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

func (c *configurer) amendBind(data []byte) ([]byte, error) {
	c.bindNote = "kept"
	if !c.bindGiven {
		return data, nil
	}
	set, err := config.Has(c.path, data, "BIND")
	if err != nil {
		return nil, err
	}
	if old, err := config.Parse(c.path, data); err == nil && set && slices.Equal(old.Bind, c.bind) {
		return data, nil
	}
	c.bindNote = "set"
	return config.Set(c.path, data, "BIND", config.JoinBind(c.bind))
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

// convertOriginal returns data in our form if it is a configuration of the original Sidecar. It
// writes and prints nothing, as the result may still be refused.
func (c *configurer) convertOriginal(data []byte) ([]byte, error) {
	if !config.IsLegacy(data) {
		return data, nil
	}
	rewritten, err := legacy.Rewrite(c.path, data)
	if err != nil {
		return nil, err
	}
	c.original = original{data: data, notes: rewritten.Notes}
	return rewritten.Data, nil
}

func (c *configurer) noteOriginal() {
	if c.original.data == nil {
		return
	}
	c.note("%s: rewritten from the original Sidecar's form; as it was: %s",
		c.path, c.original.backup)
	for _, note := range c.original.notes {
		c.note("%s: %s", c.original.backup, note)
	}
}

// warnOfShells is for a file that is valid in our form and may have served the original Sidecar,
// which let a shell read it.
func (c *configurer) warnOfShells(data []byte) {
	for _, name := range legacy.ReadDifferently(data) {
		c.note("warning: %s: a shell reads %s otherwise, as $, ` or \\ in double quotes are "+
			"special to it: if the original Sidecar served with this file, its value was another; "+
			"write the right one in single quotes", c.path, name)
	}
}

// firstBind is BIND of a first installation without --bind. It is an error if containers may look
// for this host under either of two addresses.
func firstBind() ([]config.Address, error) {
	bind, bridge := config.Default().Bind, host.BridgeAddress()
	followed := host.FollowBridge(bind, bridge)
	if !slices.Equal(followed, bind) && host.Assigned(stockBridge()) {
		return nil, fmt.Errorf("docker0 has %s, and another interface has %s: containers may look "+
			"for this host under either; hint: name the addresses, such as --bind %s, or --bind "+
			"%s for both", bridge, host.StockBridge, config.JoinBind(followed),
			config.JoinBind(append(followed, bind[1:]...)))
	}
	return followed, nil
}

func stockBridge() netip.Addr { return netip.MustParseAddr(host.StockBridge) }

// warnOfAbsent warns of addresses of --bind that this host does not have.
func (c *configurer) warnOfAbsent() {
	for _, address := range c.bind {
		ip := address.AddrPort.Addr()
		if address.Network == "unix" || ip.IsUnspecified() || ip.IsLoopback() && ip.Is4() ||
			host.Assigned(ip) {
			continue
		}
		c.note("warning: no interface of this host has %s now, and nothing can call it at %s "+
			"until one has. That is normal for docker0 before Docker runs, else correct --bind",
			ip, address)
	}
}

// warnOfBridge warns of a BIND in which containers do not find this host.
func (c *configurer) warnOfBridge() {
	followed := host.FollowBridge(c.result.Bind, host.BridgeAddress())
	if slices.Equal(followed, c.result.Bind) || host.Assigned(stockBridge()) {
		return // or the address is meant, which another interface has
	}
	c.note("warning: BIND names %s, but docker0 has %s, and containers look for this host there. "+
		"To change it, run as root: %s --bind %s",
		host.StockBridge, host.BridgeAddress(), config.Apply,
		config.ShellQuote(config.JoinBind(followed)))
}

// writeDropIns tells systemd the addresses of BIND, and the time of a stop. It also removes what a
// former release told systemd of ALLOW_SUDO, which has an effect without a drop-in now.
func (c *configurer) writeDropIns() error {
	changed, err := c.place(config.SocketDropIn(c.unitDir), config.SocketDropInText(c.result.Bind))
	if err != nil {
		return err
	}
	stopChanged, err := c.placeStopTimeout()
	if err != nil {
		return err
	}
	// install.sh, which prints the summary, applies it by itself.
	if (changed || stopChanged) && !c.printSummary && !c.apply {
		c.note("to apply: %s", config.Apply)
	}
	_, err = c.remove(config.FormerSudoDropIn(c.unitDir), config.IsFormerSudoDropIn)
	return err
}

// placeStopTimeout raises TimeoutStopSec= of the service if a stop may take longer than the unit
// as installed permits, and else removes what it wrote before.
func (c *configurer) placeStopTimeout() (changed bool, err error) {
	path := config.StopDropIn(c.unitDir)
	if c.result.StopTime() < units.StopTimeout {
		return c.remove(path, config.IsStopDropIn)
	}
	return c.place(path, config.StopDropInText(c.result))
}

// place writes a drop-in unless the same is there already.
func (c *configurer) place(path string, text []byte) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := makeDropInDir(filepath.Dir(path)); err != nil {
		return false, err
	}
	if err := config.WriteFile(path, text, 0o644); err != nil {
		return false, err
	}
	c.note("%s: written", path)
	return true, nil
}

// makeDropInDir makes a directory of mode 0755 under any umask. An existing one keeps its mode.
func makeDropInDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory for a drop-in: %w", err)
	}
	return nil
}

// remove removes a drop-in that this program wrote, and its directory if it is empty then. A file
// of that name that an administrator wrote stays.
func (c *configurer) remove(path string, isOurs func([]byte) bool) (removed bool, err error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false, nil
	}
	text, err := os.ReadFile(path)
	if err != nil || !isOurs(text) {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("cannot remove a drop-in that is no longer needed: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // fails if it is not empty
	c.note("%s: removed, as it is no longer needed", path)
	return true, nil
}
