package project

import "strings"

// nearest is the known word that was probably meant by word, or empty when
// none is near: equal but for case and separators, a longer or shorter form,
// or at most two edits away (one for short words).
func nearest(word string, known []string) string {
	plain := squeeze(word)
	if plain == "" {
		return ""
	}
	best, limit := "", min(2, len(plain)/3)+1
	for _, k := range known {
		c := squeeze(k)
		switch {
		case c == plain:
			return k
		case len(plain) >= 3 && strings.HasPrefix(c, plain), len(c) >= 3 && strings.HasPrefix(plain, c):
			best, limit = k, 1
		default:
			if d := distance(plain, c); d < limit {
				best, limit = k, d
			}
		}
	}
	return best
}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

func squeeze(s string) string { return separators.Replace(strings.ToLower(s)) }

// distance counts the bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
