package exec

import (
	"slices"
	"testing"
)

func TestWhoGetsTheIDOfACommandThatIsGoneIsNotListedAsIts(t *testing.T) {
	const id, session = 100, 7
	k := kin{group: id, session: session, held: new(held)}
	child := process{pid: 101, parent: 1, group: id, session: session}
	grandchild := process{pid: 102, parent: 101, group: 102, session: 102}
	other := process{pid: 50, parent: 1, group: 50, session: session}
	for name, c := range map[string]struct {
		now  []process
		want []int
	}{
		"its own":              {[]process{other, child, grandchild}, []int{101, 102}},
		"nobody":               {[]process{other}, nil},
		"a stranger":           {[]process{{pid: id, parent: 50, group: 50, session: 50}, {pid: 103, parent: id, group: 50, session: 50}}, nil},
		"a stranger's session": {[]process{{pid: id, parent: 50, group: id, session: id}}, nil},
		"another command":      {[]process{{pid: id, parent: 1, group: id, session: session}, {pid: 103, parent: id, group: id, session: session}}, nil},
		"another that is dead": {[]process{{pid: id, parent: 1, group: id, session: session, dead: true}, child}, nil},
	} {
		if got := k.leftAmong(c.now); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v instead of %v", name, got, c.want)
		}
	}
	// Until its shell is reaped, the id is its own, wherever the shell went.
	if got := k.among([]process{{pid: id, parent: 1, group: 50, session: session}}); !slices.Equal(got, []int{id}) {
		t.Errorf("before: %v", got)
	}
}

func TestCommandThatLeftNothingIsKnownToBeGone(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "sleep 60 >/dev/null 2>&1 &": false} {
		p := start(t, newTestRunner(t), command(text))
		finish(t, p)
		p.mu.Lock()
		if p.gone != want {
			t.Errorf("%s: %v", text, p.gone)
		}
		p.mu.Unlock()
	}
}
