// Package release verifies a release folder, or what download.sh has downloaded of one: the
// signature of its list of checksums, and that the folder has exactly the files of the list.
//
//	verify.go     lists and files
//	signature.go  the signature, by ssh-keygen
package release

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	listName        = "sha256sums"
	downloadedList  = "release.sha256sums" // in a download: the list of the release
	documentsList   = "documents.sha256sums"
	funcList        = "func/sha256sums"
	signatureSuffix = ".sig"
	programArchive  = "dataflux-func-sidecar.tar.gz"

	maxList   = 256 << 10 // bytes
	maxFaults = 10        // that are reported
)

// Report is what Verify has found.
type Report struct {
	Version string // as the folder's file of that name says
	Files   int    // whose checksums hold
	Key     string // that has signed; empty: see Unverified
	// Unverified is why the signature was not verified; nil if it holds.
	Unverified error
}

// Verify returns an error if the folder must not be used: its signature is not one of the signers,
// or is missing although signers are known; or a file was changed, is missing, or is not of the
// release. Without an error, Report.Unverified says whether only the checksums were verified.
func Verify(folder, signers string) (r Report, err error) {
	name := listName
	_, err = os.Lstat(filepath.Join(folder, downloadedList))
	downloaded := err == nil
	if downloaded {
		name = downloadedList
	}
	text, err := readList(filepath.Join(folder, name))
	if err != nil {
		return r, fmt.Errorf("cannot read %s: %w; hint: name a release folder, or a folder of "+
			"download.sh", filepath.Join(folder, name), err)
	}
	r.Key, err = checkSignature(filepath.Join(folder, name+signatureSuffix), text, signers)
	switch {
	case errors.Is(err, ErrUnsigned), errors.Is(err, ErrNoKey), errors.Is(err, ErrNoTool):
		r.Unverified = err
	case err != nil:
		return r, err
	}
	v := verification{folder: folder, sums: map[string]string{}}
	if err := v.addList(name, "", text); err != nil {
		return r, err
	}
	if downloaded {
		err = v.keepDownloaded()
	} else {
		err = v.addNested()
	}
	if err != nil {
		return r, err
	}
	if err := v.checkFiles(name); err != nil {
		return r, err
	}
	version, _ := os.ReadFile(filepath.Join(folder, "version"))
	r.Version, r.Files = strings.TrimSpace(string(version)), len(v.sums)
	return r, nil
}

// verification is one Verify, after the signature.
type verification struct {
	folder string
	sums   map[string]string // of each file that must be there, by its path in the folder
}

func readList(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxList+1))
	if len(text) > maxList {
		return nil, fmt.Errorf("it has more than %d bytes", maxList)
	}
	return text, err
}

var listLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([A-Za-z0-9_][A-Za-z0-9._+~/-]*)$`)

// addList adds the files of a list, whose paths are below a folder.
func (v *verification) addList(name, folder string, text []byte) error {
	for line := range strings.Lines(string(text)) {
		match := listLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if match == nil || path.Clean(match[2]) != match[2] {
			return fmt.Errorf("%s has the invalid line %.100q; hint: download the release again",
				name, line)
		}
		file := path.Join(folder, match[2])
		if _, twice := v.sums[file]; twice {
			return fmt.Errorf("%s names %s twice; hint: download the release again", name, file)
		}
		v.sums[file] = match[1]
	}
	if len(v.sums) == 0 {
		return fmt.Errorf("%s names no file; hint: download the release again", name)
	}
	return nil
}

// addNested adds the files of the lists that the list names.
func (v *verification) addNested() error {
	for _, list := range []string{documentsList, funcList} {
		sum, named := v.sums[list]
		if !named {
			continue
		}
		text, err := readList(filepath.Join(v.folder, list))
		if err != nil { // checkFiles reports it
			continue
		}
		if digest := sha256.Sum256(text); hex.EncodeToString(digest[:]) != sum {
			return changed(list)
		}
		if err := v.addList(list, path.Dir(list), text); err != nil {
			return err
		}
	}
	return nil
}

// keepDownloaded keeps the files that a download has: those of the top folder, and the program for
// one architecture.
func (v *verification) keepDownloaded() error {
	program, err := digestOf(filepath.Join(v.folder, programArchive))
	if err != nil {
		return fmt.Errorf("%s is missing; hint: download the release again", programArchive)
	}
	found := false
	for file, sum := range v.sums {
		if path.Base(file) == programArchive && sum == program {
			found = true
		}
	}
	if !found {
		return changed(programArchive)
	}
	maps.DeleteFunc(v.sums, func(file, _ string) bool {
		return strings.Contains(file, "/") || file == documentsList
	})
	v.sums[programArchive] = program
	return v.checkOwnList()
}

// checkOwnList requires of the list of the downloaded files, which install.sh uses, that it agrees
// with the list of the release.
func (v *verification) checkOwnList() error {
	text, err := readList(filepath.Join(v.folder, listName))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w; hint: download the release again", listName, err)
	}
	own := verification{folder: v.folder, sums: map[string]string{}}
	if err := own.addList(listName, "", text); err != nil {
		return err
	}
	for _, name := range []string{downloadedList, downloadedList + signatureSuffix} {
		delete(own.sums, name)
	}
	if !maps.Equal(own.sums, v.sums) {
		return fmt.Errorf("%s was changed: it differs from %s; hint: download the release again",
			listName, downloadedList)
	}
	return nil
}

func changed(file string) error {
	return fmt.Errorf("%s was changed: its checksum differs; hint: download the release again",
		file)
}

// checkFiles compares the folder with the sums. The list and its signature need no sum.
func (v *verification) checkFiles(list string) error {
	var faults []string
	seen := map[string]bool{}
	err := filepath.WalkDir(v.folder, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := filepath.Rel(v.folder, at)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		seen[file] = true
		if fault := v.checkFile(file, entry, list); fault != "" {
			faults = append(faults, fault)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", v.folder, err)
	}
	for _, file := range slices.Sorted(maps.Keys(v.sums)) {
		if !seen[file] {
			faults = append(faults, file+" is missing")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	if more := len(faults) - maxFaults; more > 0 {
		faults = append(faults[:maxFaults], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%s; hint: download the release again, into a folder of its own",
		strings.Join(faults, "; "))
}

// checkFile returns what is wrong with a file, empty if nothing is.
func (v *verification) checkFile(file string, entry fs.DirEntry, list string) string {
	sum, named := v.sums[file]
	switch {
	case !entry.Type().IsRegular():
		return fmt.Sprintf("%.100q is no regular file", file)
	case named:
		got, err := digestOf(filepath.Join(v.folder, file))
		if err != nil {
			return fmt.Sprintf("%s cannot be read: %v", file, errors.Unwrap(err))
		}
		if got != sum {
			return file + " was changed: its checksum differs"
		}
	case file == listName, file == list, file == list+signatureSuffix:
	default:
		return fmt.Sprintf("%.100q is not of the release", file)
	}
	return ""
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}
