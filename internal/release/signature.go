package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// Signer and Namespace are what a line of allowed signers names, and packaging/dist.sh signs
	// with.
	Signer    = "dataflux-func-sidecar"
	Namespace = "dataflux-func-sidecar-release"

	maxSignature = 64 << 10         // bytes
	maxKeygen    = 30 * time.Second // for one call
)

// Reasons why a signature was not verified. They are no sign of an attack.
var (
	// ErrUnsigned means that the release is not signed, and that no key is known.
	ErrUnsigned = errors.New("the release is not signed, and no release key is known here")
	// ErrNoKey means that the release is signed, and that no key is known.
	ErrNoKey = errors.New("no release key is known here; hint: give the public key of the " +
		"release with --allowed-signers FILE")
	// ErrNoTool means that ssh-keygen is missing, or older than OpenSSH 8.1.
	ErrNoTool = errors.New("there is no ssh-keygen of OpenSSH 8.1 or later; hint: install it " +
		"(Debian: openssh-client; Fedora, openSUSE: openssh)")
)

// hasKey reports whether a list of allowed signers has a line that is no comment.
func hasKey(signers string) bool {
	for line := range strings.Lines(signers) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			return true
		}
	}
	return false
}

// checkSignature verifies the signature in a file over a text with ssh-keygen, and returns the key.
// It returns one of the reasons above if that is not possible, and any other error if the release
// must not be trusted.
func checkSignature(file string, text []byte, signers string) (key string, err error) {
	info, err := os.Lstat(file)
	known := hasKey(signers)
	switch {
	case errors.Is(err, os.ErrNotExist) && known:
		return "", fmt.Errorf("%s is missing, and the key of releases is known here: the release "+
			"is not of its authors, or its signature was removed; hint: download it again",
			filepath.Base(file))
	case errors.Is(err, os.ErrNotExist):
		return "", ErrUnsigned
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Size() > maxSignature:
		return "", fmt.Errorf("%s is no file of at most %d bytes", filepath.Base(file),
			maxSignature)
	case !known:
		return "", ErrNoKey
	}
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return "", ErrNoTool
	}
	list, err := writeSigners(signers)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(list) }()
	said, err := keygen(program, text, "verify", "-f", list, "-I", Signer, "-n", Namespace,
		"-s", file)
	if err == nil {
		return keyOf(said), nil
	}
	return "", explain(program, file, text, said, err)
}

// writeSigners writes a temporary file, as ssh-keygen takes no other.
func writeSigners(signers string) (path string, err error) {
	file, err := os.CreateTemp("", "allowed_signers-")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(signers)
	return file.Name(), errors.Join(err, file.Close())
}

// keygen runs ssh-keygen -Y and returns what it printed.
func keygen(program string, stdin []byte, args ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxKeygen)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"-Y"}, args...)...)
	cmd.Stdin, cmd.Env = bytes.NewReader(stdin), []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

var goodSignature = regexp.MustCompile(`with (\S+ key \S+)`)

func keyOf(said string) string {
	if match := goodSignature.FindStringSubmatch(said); match != nil {
		return match[1]
	}
	return "a known key"
}

// explain says why ssh-keygen has refused a signature.
func explain(program, file string, text []byte, said string, failure error) error {
	lower := strings.ToLower(said)
	if strings.Contains(lower, "unknown option") || strings.Contains(lower, "illegal option") {
		return ErrNoTool
	}
	name := filepath.Base(file)
	signed := strings.TrimSuffix(name, signatureSuffix)
	_, err := keygen(program, text, "check-novalidate", "-n", Namespace, "-s", file)
	switch {
	case err == nil:
		return fmt.Errorf("%s is a signature of another key than those of releases: the release "+
			"is not of its authors; hint: download it from where its authors publish it", name)
	case strings.Contains(lower, "incorrect signature"):
		return fmt.Errorf("%s does not belong to %s: the list was changed, or the signature is "+
			"that of another release; hint: download the release again", name, signed)
	}
	last := said[strings.LastIndex(said, "\n")+1:]
	return fmt.Errorf("%s cannot be verified: ssh-keygen: %s (%w); hint: download the release "+
		"again", name, last, failure)
}
