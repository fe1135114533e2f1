package supervisor

import (
	"slices"
	"testing"
)

func TestNetworkArguments_Parsed(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []int
	}{
		{[]string{"2"}, []int{2}},
		{[]string{"2", "7", "16"}, []int{2, 7, 16}},
		{nil, nil},
		{[]string{"2", "7"}, nil},
		{[]string{"2", "7", "16", "1"}, nil},
		{[]string{"-1"}, nil},
		{[]string{"99999999"}, nil},
		{[]string{"x"}, nil},
	} {
		got, err := parseNumbers(c.args)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%q: got %v, %v, want %v", c.args, got, err, c.want)
		}
	}
}
