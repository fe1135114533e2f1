package privsep

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The answers of a host whose directory service has the user.
const (
	getentAnswers = `echo 'dffs:*:70001:70002:DataFlux:/home/dffs:/bin/bash'`
	idAnswers     = `echo 70002 70003 70004 70003`
	hangs         = `exec sleep 600`
	endless       = `exec yes 70002`
	unknown       = `exit 2`
)

// hostWith is a host with these scripts as its getent and id; the empty text leaves a tool out.
func hostWith(t *testing.T, getent, id string) accounts {
	t.Helper()
	folder := t.TempDir()
	for tool, script := range map[string]string{"getent": getent, "id": id} {
		if script == "" {
			continue
		}
		err := os.WriteFile(filepath.Join(folder, tool), []byte("#!/bin/sh\n"+script+"\n"), 0o755)
		if err != nil {
			t.Fatal(err)
		}
	}
	return accounts{
		"root:x:0:0:root:/root:/bin/sh\nlocal:x:990:991::/srv:/bin/sh\n", "video:x:44:local,dffs\n",
		hostTools{[]string{"/nowhere", folder}, time.Minute},
	}
}

func TestLookupUser_FromADirectoryService(t *testing.T) {
	for name, test := range map[string]struct {
		getent, id string
		want       User
	}{
		"all groups": {
			getentAnswers, idAnswers,
			User{"dffs", 70001, 70002, []int{70002, 70003, 70004}, "/home/dffs", "/bin/bash", ""},
		},
		"empty fields": {
			`echo 'dffs:*:70001:70002:::'`, idAnswers,
			User{"dffs", 70001, 70002, []int{70002, 70003, 70004}, "/", "/bin/sh", ""},
		},
		"another form of a name": {
			`echo 'dffs@example.com:*:1:2::/h:'`, `echo 2`,
			User{"dffs@example.com", 1, 2, []int{2}, "/h", "/bin/sh", ""},
		},
		"the arguments": {
			`[ "$*" = "passwd dffs" ] && ` + getentAnswers, `[ "$*" = "-G dffs" ] && ` + idAnswers,
			User{"dffs", 70001, 70002, []int{70002, 70003, 70004}, "/home/dffs", "/bin/bash", ""},
		},
		"nothing inherited": {
			`[ "$(pwd) $LC_ALL ${HOME-none} $(wc -c)" = "/ C none 0" ] && ` + getentAnswers, idAnswers,
			User{"dffs", 70001, 70002, []int{70002, 70003, 70004}, "/home/dffs", "/bin/bash", ""},
		},
	} {
		u, err := hostWith(t, test.getent, test.id).runUser("dffs")
		if err != nil || !reflect.DeepEqual(u, test.want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, u, err, test.want)
		}
	}
}

func TestLookupUser_GroupsOfADirectoryServiceForALocalUser(t *testing.T) {
	u, err := hostWith(t, hangs, `echo 991 44 70003`).runUser("local")
	want := User{"local", 990, 991, []int{991, 44, 70003}, "/srv", "/bin/sh", ""}
	if err != nil || !reflect.DeepEqual(u, want) {
		t.Errorf("got %+v, %v; want %+v", u, err, want)
	}
}

func TestLookupUser_LocalUserNeedsNoDirectoryService(t *testing.T) {
	for id, says := range map[string]string{
		hangs: "did not answer", endless: "not valid", unknown: "exit status 2",
		"": "there is no id", `echo 70002`: "primary group 70002 instead of 991",
	} {
		a := hostWith(t, hangs, id)
		if id == hangs {
			a.tools.timeout = 10 * time.Millisecond
		}
		u, err := a.runUser("local")
		if err != nil || !reflect.DeepEqual(u.Groups, []int{991, 44}) || !strings.Contains(u.Note, says) {
			t.Errorf("%q: got %+v, %v; want a note that says %q", id, u, err, says)
		}
	}
}

func TestLookupUser_ToolsThatFail(t *testing.T) {
	for name, test := range map[string]struct{ getent, id, says string }{
		"getent hangs": {
			hangs, idAnswers,
			"getent did not answer within 10ms and was killed; hint: look at the directory service",
		},
		"endless output": {endless, idAnswers, "not valid"},
		"a very long line": {
			`head -c 2000000 /dev/zero | tr '\0' x`, idAnswers, "more than 1048576 bytes",
		},
		"garbage":         {`head -c 1000 /dev/urandom`, idAnswers, "not valid"},
		"nothing":         {`:`, idAnswers, "not valid"},
		"no line end":     {`printf 'dffs:*:1:2::/:/bin/sh'`, idAnswers, "not valid"},
		"two lines":       {getentAnswers + ";" + getentAnswers, idAnswers, "not valid"},
		"escape sequence": {`printf 'dffs:*:1:2:\033[2J:/:\n'`, idAnswers, "not valid"},
		"six fields":      {`echo 'dffs:*:1:2:/:/bin/sh'`, idAnswers, "not valid"},
		"eight fields":    {`echo 'dffs:*:1:2:::/:/bin/sh'`, idAnswers, "not valid"},
		"no name":         {`echo ':*:1:2::/:/bin/sh'`, idAnswers, "not valid"},
		"largest uid":     {`echo 'dffs:*:4294967295:2::/:'`, idAnswers, "not an id"},
		"largest gid":     {`echo 'dffs:*:1:4294967295::/:'`, idAnswers, "not an id"},
		"negative uid":    {`echo 'dffs:*:-1:2::/:'`, idAnswers, "not an id"},
		"relative home":   {`echo 'dffs:*:1:2::home:'`, idAnswers, "not an absolute path"},
		"uid of root":     {`echo 'dffs:*:0:2::/:'`, idAnswers, "uid 0 is root's"},
		"gid of root":     {`echo 'dffs:*:1:0::/:'`, idAnswers, "gid 0 is root's"},
		"getent fails":    {`exit 1`, idAnswers, "exit status 1"},
		"getent dies":     {`kill -9 $$`, idAnswers, "signal: killed"},
		"id fails":        {getentAnswers, `echo 70002; exit 1`, "exit status 1"},
		"id: garbage":     {getentAnswers, `echo 70002 video`, "not a list"},
		"id: nothing":     {getentAnswers, `echo`, "not a list"},
		"id: two blanks":  {getentAnswers, `echo '70002  70003'`, "not a list"},
		"id: largest gid": {getentAnswers, `echo 70002 4294967295`, "not a list"},
		"id: too many":    {getentAnswers, `echo $(seq 70002 140000)`, "at most 65536"},
		"id: another's":   {getentAnswers, `echo 44 70002`, "primary group 44 instead of 70002"},
		"no getent":       {"", idAnswers, "no getent in"},
		"unknown":         {unknown, idAnswers, "`getent passwd dffs` must print it"},
		"unknown, how to create": {
			unknown, idAnswers, "useradd --system --user-group --create-home --shell /usr/sbin/nologin dffs",
		},
	} {
		a := hostWith(t, test.getent, test.id)
		if test.getent == hangs {
			a.tools.timeout = 10 * time.Millisecond
		}
		_, err := a.runUser("dffs")
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.says)
		}
		isUnknown := test.getent == unknown || test.getent == ""
		if errors.Is(err, ErrUnknownUser) != isUnknown {
			t.Errorf("%s: got %v as ErrUnknownUser: %t, want %t", name, err, !isUnknown, isUnknown)
		}
	}
}

// Without id, the groups of /etc/group are what there is.
func TestLookupUser_WithoutID(t *testing.T) {
	u, err := hostWith(t, getentAnswers, "").runUser("dffs")
	if err != nil || !reflect.DeepEqual(u.Groups, []int{70002, 44}) || u.Note == "" {
		t.Errorf("got %+v, %v; want the groups 70002 and 44, and a note", u, err)
	}
}

// getent would take them for an option or for a uid, and find another user.
func TestLookupUser_NamesNotPassedOn(t *testing.T) {
	for _, name := range []string{
		"", "70001", "-h", "--help", "a:b", "a,b", "a\nb", "a\x00b", strings.Repeat("x", 257),
	} {
		u, err := hostWith(t, getentAnswers, idAnswers).runUser(name)
		if !errors.Is(err, ErrUnknownUser) {
			t.Errorf("%q: got %+v, %v; want ErrUnknownUser", name, u, err)
		}
	}
}

func TestLookupRoleUser_PrimaryGroup(t *testing.T) {
	for name, want := range map[string]User{
		"local": {"local", 990, 991, []int{991}, "/srv", "/bin/sh", ""}, // with neither tool asked
		"dffs":  {"dffs", 70001, 70002, []int{70002}, "/home/dffs", "/bin/bash", ""},
	} {
		u, _, err := hostWith(t, getentAnswers, hangs).lookUp(name, forRoles)
		if err != nil || !reflect.DeepEqual(u, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, u, err, want)
		}
	}
	_, _, err := hostWith(t, unknown, "").lookUp("dffs-sidecar", forRoles)
	const want = "useradd --system --user-group --no-create-home --home-dir /nonexistent " +
		"--shell /usr/sbin/nologin dffs-sidecar"
	if !errors.Is(err, ErrUnknownUser) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v does not say %q", err, want)
	}
}

func TestCurrentUser_FromADirectoryService(t *testing.T) {
	nameless := User{Name: "70001", UID: 70001, Home: "/", Shell: "/bin/sh"}
	for name, test := range map[string]struct {
		getent string
		want   User
		note   string
	}{
		"known": {
			getentAnswers, User{"dffs", 70001, 70002, []int{70002}, "/home/dffs", "/bin/bash", ""}, "",
		},
		"unknown": {unknown, nameless, ""},
		"missing": {"", nameless, ""},
		"another": {`echo 'x:*:70009:1::/:'`, nameless, "of another user"},
		"garbage": {`echo x`, nameless, "not valid"},
	} {
		u, err := hostWith(t, test.getent, "").withUID(70001)
		if err != nil || !strings.Contains(u.Note, test.note) || (u.Note == "") != (test.note == "") {
			t.Errorf("%s: got %+v, %v; want the note %q", name, u, err, test.note)
		}
		if u.Note = ""; !reflect.DeepEqual(u, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, u, test.want)
		}
	}
}

// This host's own tools, whatever it has in PATH.
func TestHostTools_OfThisHost(t *testing.T) {
	t.Setenv("PATH", "/nowhere")
	h := defaultTools()
	if _, err := h.path("getent"); err != nil {
		t.Fatal(err)
	}
	root, err := h.userNamed("root")
	if err != nil || root.UID != 0 || root.Name != "root" {
		t.Errorf("got %+v, %v; want root", root, err)
	}
	if groups, err := h.groups("root", 0); err != nil || groups[0] != 0 {
		t.Errorf("got %v, %v; want 0 first", groups, err)
	}
	if u, err := h.userNamed("no-such-user-here"); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("got %+v, %v; want ErrUnknownUser", u, err)
	}
	if u, err := h.userOfID(0); err != nil || u.UID != 0 {
		t.Errorf("got %+v, %v; want uid 0", u, err)
	}
}
