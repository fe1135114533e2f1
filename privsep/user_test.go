package privsep

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

const passwdSample = `root:x:0:0:root:/root:/bin/bash
toor:x:0:0:second root:/root:/bin/sh
# a comment
broken:x:12
+@netgroup::::::
dffs:x:990:991:DataFlux Func Sidecar:/home/dffs:/bin/bash
bare:x:1000:1000::: 
empty:x:1001:1001:::
rootgroup:x:1002:0::/:/bin/sh
huge:x:4294967295:1::/:/bin/sh
negative:x:-1:1::/:/bin/sh
dffs:x:0:0:a later line of the same name:/root:/bin/sh`

const groupSample = `root:x:0:
docker:x:20:other,dffs
adm:x:4:dffsx,xdffs
dffs:x:991:dffs
video:x:44:dffs
video2:x:44:dffs
+:::`

func TestLookupFindsIdsGroupsHomeAndShell(t *testing.T) {
	u, err := accounts{passwdSample, groupSample}.runUser("dffs")
	want := User{Name: "dffs", UID: 990, GID: 991, Groups: []int{991, 20, 44}, Home: "/home/dffs", Shell: "/bin/bash"}
	if err != nil || !reflect.DeepEqual(u, want) {
		t.Errorf("got %+v, %v; want %+v", u, err, want)
	}
	u, err = accounts{passwdSample, groupSample}.runUser("empty")
	if err != nil || u.Home != "/" || u.Shell != "/bin/sh" {
		t.Errorf("empty fields: got %+v, %v", u, err)
	}
}

func TestLookupRefusesRootAndBrokenLines(t *testing.T) {
	for name, says := range map[string]string{
		"root": "uid 0", "toor": "uid 0", "rootgroup": "gid 0", "huge": "not an id", "negative": "not an id",
		"nobodyknows": "useradd", "broken": "no such user", "": "no such user", "#": "no such user",
	} {
		_, err := accounts{passwdSample, groupSample}.runUser(name)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v does not say %q", name, err, says)
		}
	}
}

func TestLookupRefusesAGroupLineThatIsNoNumber(t *testing.T) {
	if _, err := (accounts{passwdSample, "bad:x:many:dffs"}).runUser("dffs"); err == nil {
		t.Error("a group without a number was accepted")
	}
}

func TestLookupReadsTheFilesOfThisHost(t *testing.T) {
	if _, err := LookupUser("root"); err == nil {
		t.Error("root was accepted as the run user")
	}
	if _, err := LookupUser("no-such-user-here"); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("unknown user: %v", err)
	}
	u, err := CurrentUser()
	if err != nil || u.UID != os.Getuid() || u.GID != os.Getgid() {
		t.Errorf("current user: %+v, %v", u, err)
	}
}
