package config

import (
	"fmt"
)

// unknownKey returns the error for a key that is not in the table, with a suggestion if there is a similar key.
func unknownKey(name string, keys []Key) error {
	best, distance := "", len(name)/3+1
	for _, k := range keys {
		for _, candidate := range []string{k.Name, k.Section()} {
			if d := editDistance(name, candidate); d <= distance && (best == "" || d < distance) {
				best, distance = candidate, d
			}
		}
	}
	if best == "" {
		return fmt.Errorf("the key %s is unknown", name)
	}
	return fmt.Errorf("the key %s is unknown; did you mean %s?", name, best)
}

// editDistance returns the Levenshtein distance between a and b.
func editDistance(a, b string) int {
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
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
