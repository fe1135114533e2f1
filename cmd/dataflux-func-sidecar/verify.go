package main

import (
	"errors"
	"fmt"

	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/release"
	"dataflux-func-sidecar/packaging"
)

// statusUnverified means that all files are as their checksums say, and that the signature could
// not be verified.
const statusUnverified = 3

const verifyUsage = `verify [OPTIONS] FOLDER

Verifies a release folder, or a folder of download.sh: that one of the release keys has signed its
list of checksums, and that it has exactly the files of that list. It needs ssh-keygen and no root.

Exit status: 0 if signature and files are correct; 1 if not, or if a signature is missing although
a release key is known; 3 if the files are as their checksums say, and the signature could not be
verified: no key is known, or ssh-keygen is missing. Checksums detect damage, and no attacker.`

func runVerify(args []string, t terminal) int {
	flags := t.newFlags("verify", verifyUsage)
	var signersFile string
	flags.StringVar(&signersFile, "allowed-signers", "", "the release keys, in the format of "+
		"ssh-keygen, in a `FILE` instead of those of this program")
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) != 1 {
		err = errors.New("name one folder")
	}
	if err != nil {
		return t.misused("verify", err, statusUsage)
	}
	signers := packaging.AllowedSigners
	if signersFile != "" {
		text, err := readFile(signersFile)
		if err != nil {
			t.fail("cannot read --allowed-signers: %v", err)
			return statusError
		}
		signers = string(text)
	}
	r, err := release.Verify(arguments[0], signers)
	if err != nil {
		t.sayError(fmt.Errorf("do not use %s: %w", arguments[0], err))
		return statusError
	}
	if r.Unverified != nil {
		fmt.Fprintf(t.stdout, "Release %s: all %d files are as their checksums say.\n",
			escape.Lines(r.Version), r.Files)
		t.warn("the signature was not verified: %s", splitHint(r.Unverified))
		return statusUnverified
	}
	fmt.Fprintf(t.stdout, "Release %s: the signature (%s) and all %d files are correct.\n",
		escape.Lines(r.Version), escape.Lines(r.Key), r.Files)
	return 0
}
