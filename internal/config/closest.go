package config

import "strings"

// Closest returns the word that typed was meant to be: the first that differs from it in letter
// case and by one edit at most. An edit inserts, drops or replaces a byte, or swaps two neighbours.
// It returns the empty string if there is none.
func Closest(typed string, words []string) string {
	for _, word := range words {
		a, b := strings.ToUpper(typed), strings.ToUpper(word)
		for a != "" && b != "" && a[0] == b[0] {
			a, b = a[1:], b[1:]
		}
		for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
			a, b = a[:len(a)-1], b[:len(b)-1]
		}
		swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
		if swapped || len(a) <= 1 && len(b) <= 1 {
			return word
		}
	}
	return ""
}
