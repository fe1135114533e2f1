// Command scriptset writes the scripts of connector/ in the two forms that DataFlux Func imports:
// a ZIP for Script Set Import, and the same tree unpacked, for a Script Market. packaging/dist.sh
// calls it. The same scripts and time give the same bytes.
package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	source := flag.String("source", "connector", "the folder of the scripts")
	epoch := flag.Int64("time", 0, "the time of all files, in Unix seconds")
	archive := flag.String("zip", "", "the ZIP to write")
	tree := flag.String("tree", "", "the folder to write the tree to")
	flag.Parse()
	if err := run(*source, time.Unix(*epoch, 0).UTC(), *archive, *tree); err != nil {
		fmt.Fprintln(os.Stderr, "scriptset:", err)
		os.Exit(1)
	}
}

func run(source string, released time.Time, archive, tree string) error {
	if archive == "" && tree == "" || released.Unix() <= 0 {
		return errors.New("--time, and --zip or --tree, are required")
	}
	files, err := build(source, released)
	if err == nil && archive != "" {
		err = writeZIP(archive, files, released)
	}
	if err == nil && tree != "" {
		err = writeTree(tree, files)
	}
	return err
}

// file is a file of the tree.
type file struct {
	path    string // with slashes
	content []byte
}

// build returns the files of the tree in their order.
func build(source string, released time.Time) ([]file, error) {
	set := scriptSet{
		ID: setID, Title: setTitle, Description: setDescription, Scripts: []script{},
	}
	var scripts []file
	for _, s := range shipped {
		code, err := os.ReadFile(filepath.Join(source, setID+"__"+s.name+".py"))
		if err != nil {
			return nil, fmt.Errorf("cannot read a script: %w", err)
		}
		described, err := describe(s, code, released)
		if err != nil {
			return nil, err
		}
		set.Scripts = append(set.Scripts, described)
		scripts = append(scripts, file{"script-sets/" + setID + "/" + s.name + ".py", code})
	}
	set.OriginMD5 = originMD5(set)
	content := metaFile{Version: 2, Extra: extra{Note: note}, ScriptSets: []scriptSet{set}}
	meta := encode(content, "  ")
	return append([]file{{"META.yaml", meta}, {"NOTE.txt", []byte(note + "\n")}}, scripts...), nil
}

// writeZIP stores the files uncompressed, as a compressor may give other bytes in another release.
func writeZIP(path string, files []file, released time.Time) error {
	var held bytes.Buffer
	w := zip.NewWriter(&held)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.path, Method: zip.Store, Modified: released}
		header.SetMode(0o644)
		member, err := w.CreateHeader(header)
		if err == nil {
			_, err = member.Write(f.content)
		}
		if err != nil {
			return fmt.Errorf("cannot add %s to the ZIP: %w", strconv.Quote(f.path), err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("cannot complete the ZIP: %w", err)
	}
	if err := os.WriteFile(path, held.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the ZIP: %w", err)
	}
	return nil
}

func writeTree(folder string, files []file) error {
	for _, f := range files {
		path := filepath.Join(folder, filepath.FromSlash(f.path))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, f.content, 0o644)
		}
		if err != nil {
			return fmt.Errorf("cannot write the tree: %w", err)
		}
	}
	return nil
}
