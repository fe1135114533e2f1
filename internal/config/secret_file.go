package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/sign"
)

const (
	maxSecretFile = 4 << 10 // bytes
	// credentialsVariable is set by systemd for the processes of a service alone.
	credentialsVariable = "CREDENTIALS_DIRECTORY"
	credentialsDir      = "/run/credentials/dataflux-func-sidecar.service"
)

// SecretPath returns the path of SecretFile.
func (k NamedKey) SecretPath() string {
	if k.isCredential() {
		return filepath.Join(cmp.Or(os.Getenv(credentialsVariable), credentialsDir), k.SecretFile)
	}
	return k.SecretFile
}

func (k NamedKey) isCredential() bool { return !strings.Contains(k.SecretFile, "/") }

// Files returns the paths of the files that are read together with the configuration: certificate,
// its key, and secrets. Credentials are not among them: they change at a start of the service only.
func (c Config) Files() (paths []string) {
	if c.TLSCertificate != "" {
		paths = append(paths, c.TLSCertificate, c.TLSKey)
	}
	for _, k := range c.NamedKeys {
		if k.SecretFile != "" && !k.isCredential() {
			paths = append(paths, k.SecretFile)
		}
	}
	return paths
}

// CheckSecretFiles returns the faults of the files of secrets, joined. Credentials are not looked
// at: systemd may have yet to load them.
func (c Config) CheckSecretFiles() error {
	var faults []error
	for _, k := range c.NamedKeys {
		if k.SecretFile == "" || k.isCredential() {
			continue
		}
		_, wrong := k.readSecretFile()
		for _, err := range wrong {
			faults = append(faults, fmt.Errorf("KEY.%s: SECRET_FILE: %w", k.Name, err))
		}
	}
	return errors.Join(faults...)
}

// readSecretFiles fills in the secrets that files hold. The error joins all faults, and holds
// nothing of a file; name is that of the configuration.
func (c *Config) readSecretFiles(name string) error {
	var faults []error
	for i := range c.NamedKeys {
		k := &c.NamedKeys[i]
		if k.SecretFile == "" {
			continue
		}
		secrets, wrong := k.readSecretFile()
		for _, err := range wrong {
			faults = append(faults, fmt.Errorf("%s: KEY.%s: SECRET_FILE: %w", name, k.Name, err))
		}
		k.Secrets = secrets
	}
	if len(faults) == 0 {
		for _, same := range c.equalSecrets() {
			faults = append(faults, fmt.Errorf("%s: %w", name, same.err))
		}
	}
	return errors.Join(faults...)
}

// readSecretFile applies the rules of the configuration: the right to write or to read the file is
// the right to use the key.
func (k NamedKey) readSecretFile() (secrets []Key, faults []error) {
	path := k.SecretPath()
	text, info, err := readRegular(path, maxSecretFile)
	if errors.Is(err, os.ErrNotExist) && k.isCredential() {
		err = fmt.Errorf("there is no credential %s: write LoadCredential=%s:/PATH into a "+
			"drop-in of the service, and restart it, as systemd loads credentials at a start", path,
			k.SecretFile)
	}
	if err != nil {
		return nil, []error{err}
	}
	for _, err := range []error{CheckOwner(path, info), CheckMode(path, info)} {
		if err != nil {
			faults = append(faults, err)
		}
	}
	secrets, err = parseSecretFile(text)
	if err != nil {
		faults = append(faults, fmt.Errorf("%s %w", path, err))
	}
	return secrets, faults
}

// parseSecretFile reads one secret on each line.
func parseSecretFile(text []byte) ([]Key, error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) > maxNamedSecrets {
		return nil, fmt.Errorf("has more than %d lines: write one secret alone, or the new one "+
			"and on the next line the old one", maxNamedSecrets)
	}
	var secrets []Key
	for i, line := range lines {
		secret, err := ParseKey(strings.TrimSuffix(line, "\r"))
		if err != nil {
			return nil, fmt.Errorf("line %d %w", i+1, err)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// FileSecrets returns the secrets that files hold, by the name of their key, for SetFileSecrets.
func (c Config) FileSecrets() map[string][][]byte {
	files := map[string][][]byte{}
	for _, k := range c.NamedKeys {
		if k.SecretFile == "" {
			continue
		}
		for _, secret := range k.Secrets {
			files[k.Name] = append(files[k.Name], secret)
		}
	}
	return files
}

// SetFileSecrets fills in the secrets of files, as FileSecrets returned them, where this process
// cannot read the files. It returns an error if those of a key are missing.
func (c *Config) SetFileSecrets(files map[string][][]byte) error {
	for i := range c.NamedKeys {
		k := &c.NamedKeys[i]
		if k.SecretFile == "" {
			continue
		}
		text := bytes.Join(files[k.Name], []byte("\n"))
		secrets, err := parseSecretFile(text)
		if len(files[k.Name]) == 0 {
			err = errors.New("has not arrived, as the release that runs does not know it: " +
				"restart the service")
		}
		if err != nil {
			return fmt.Errorf("the secret of KEY.%s %w", k.Name, err)
		}
		k.Secrets = secrets
	}
	for _, same := range c.equalSecrets() {
		return same.err
	}
	return nil
}

// equalSecrets returns a fault for each key that has the same secret, or public key, as another one
// before it. A public key is no secret either.
func (c Config) equalSecrets() (faults tableErrors) {
	of := map[string]string{}
	check := func(text, name, what, row string) {
		other, found := of[text]
		if !found {
			of[text] = name
			return
		}
		err := fmt.Errorf("KEY.%s has the same %s as %s: give each key its own", name, what,
			settingOfKey(other))
		if other == name {
			err = fmt.Errorf("KEY.%s has the same %s twice: leave one out", name, what)
		}
		faults = append(faults, tableError{[]string{"KEY", name, row}, err})
	}
	for _, s := range c.Secrets() {
		check(string(s.Key), s.Name, "secret", "SECRET")
	}
	for _, k := range c.NamedKeys {
		for _, public := range k.PublicKeys {
			check(sign.KeyID(public), k.Name, "public key", "PUBLIC_KEYS")
		}
	}
	return faults
}

// settingOfKey is the place in the file of the key with a name.
func settingOfKey(name string) string {
	if name == policy.DefaultKey {
		return "SECRET_KEY"
	}
	return "KEY." + name
}
