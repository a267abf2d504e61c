package definitions

// Many stands in a name for any text.
const Many = many

// Pattern returns the pattern of names, with what may be folded.
func Pattern(all []string, folds ...string) (string, error) {
	n, f := names{}, names{}
	n.add(all...)
	f.add(folds...)
	return n.pattern(f)
}
