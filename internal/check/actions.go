package check

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep"
)

// checkActions finds programs of actions that the user of commands can change: any command can then
// choose what an action does.
func checkActions(c *checker) (found []Finding) {
	if len(c.settings.Actions) == 0 || c.account.Name == "" {
		return nil // checkUser reports that there is no user
	}
	for _, action := range c.settings.Actions {
		if program := programOf(action); program != "" {
			found = append(found, c.checkProgramOf(action.Name, program)...)
		}
	}
	if len(found) == 0 {
		found = append(found, ok("user %s cannot change the programs of the actions", c.User))
	}
	return found
}

// programOf returns the absolute path of the program that an action begins with; empty: its text
// begins with another word.
func programOf(a policy.Action) string {
	if len(a.Argv) > 0 {
		return a.Argv[0]
	}
	text := strings.TrimSpace(a.Text)
	word := text
	if quote := text[:1]; quote == `"` || quote == "'" {
		word, _, _ = strings.Cut(text[1:], quote)
	} else if end := strings.IndexAny(text, " \t\r\n;|&<>()"); end >= 0 {
		word = text[:end]
	}
	if !filepath.IsAbs(word) || strings.ContainsAny(word, "$`\\*?[") {
		return ""
	}
	return word
}

func (c *checker) checkProgramOf(action, program string) (found []Finding) {
	paths, err := pathsTo(program)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found = append(found, warning("ACTION.%s runs %s, which does not exist: write another "+
			"path to RUN, or install it", action, program))
	case err != nil:
		return []Finding{warning("ACTION.%s runs %s, which cannot be looked at: %v", action,
			program, err)}
	}
	for i, p := range paths {
		earlier := func(s step) bool { return s.path == p.path }
		if slices.ContainsFunc(paths[:i], earlier) {
			continue // a link led back
		}
		why, change := changeable(p.info, c.account)
		if why == "" {
			continue
		}
		if c.isInHome(p.path) {
			return append(found, warning("user %s, and so every command, can change %s of "+
				"ACTION.%s, as it is in the home directory: move it to a directory of root such "+
				"as /usr/local/lib, and write that path to RUN", c.User, program, action))
		}
		text := "user %s, and so every command, can change %s of ACTION.%s: %s %s"
		f := warning(text, c.User, program, action, p.path, why)
		found = append(found, f.fix(change+" "+config.ShellQuote(p.path)))
	}
	return found
}

func (c *checker) isInHome(path string) bool {
	home := filepath.Clean(c.account.Home)
	return home != "." && home != "/" && (path == home || strings.HasPrefix(path, home+"/"))
}

// step is a file or a directory on the way to a program.
type step struct {
	path string
	info os.FileInfo
}

// maxLinks bounds the symbolic links on the way to a program, as the kernel does.
const maxLinks = 40

// pathsTo returns what leads to an absolute path, the root directory first, through all symbolic
// links. With an error it returns those up to the fault.
func pathsTo(path string) (steps []step, err error) {
	rest, at := strings.Split(path, "/"), "/"
	for links := 0; ; {
		info, err := os.Lstat(at)
		if err != nil {
			return steps, err
		}
		isLink := info.Mode().Type() == fs.ModeSymlink
		// Elsewhere a link can be replaced by those alone who can write to its directory.
		if !isLink || isSticky(filepath.Dir(at)) {
			steps = append(steps, step{at, info})
		}
		if isLink {
			target, err := os.Readlink(at)
			if links++; err == nil && links > maxLinks {
				err = &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
			}
			if err != nil {
				return steps, err
			}
			rest, at = append(strings.Split(target, "/"), rest...), filepath.Dir(at)
			if filepath.IsAbs(target) {
				at = "/"
			}
		}
		if len(rest) == 0 {
			return steps, nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:] // at has no link in it, so .. is right
	}
}

func isSticky(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode()&fs.ModeSticky != 0
}

// changeable says why a user can change a file, or replace what is in a directory, and the command
// that ends it, without the path. Both are empty if the user cannot. In a directory with the sticky
// bit, such as /tmp, the files of others cannot be replaced.
func changeable(info os.FileInfo, user privsep.User) (why, change string) {
	stat, known := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case !known:
		return "", ""
	case int(stat.Uid) == user.UID:
		return "belongs to that user", "chown -h root:"
	case mode.Type() == fs.ModeSymlink, mode.IsDir() && mode&fs.ModeSticky != 0:
		return "", ""
	case slices.Contains(user.Groups, int(stat.Gid)):
		if mode&0o020 != 0 {
			return "can be written by a group of that user", "chmod g-w"
		}
	case mode&0o002 != 0:
		return "can be written by everyone", "chmod o-w"
	}
	return "", ""
}
