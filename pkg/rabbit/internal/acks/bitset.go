package acks

import "math/bits"

// bitset is a set of delivery tags, starting at 1, that forgets the prefix that is complete. It takes a bit for each tag
// beyond the first that is missing: 4 MB for 32 million messages behind one slow handler.
type bitset struct {
	words []uint64
	base  uint64 // tags 1 … 64*base are all in the set
}

func (b *bitset) set(tag uint64) {
	tag--
	if tag/64 < b.base {
		return
	}
	word := tag/64 - b.base
	for uint64(len(b.words)) <= word {
		b.words = append(b.words, 0)
	}
	b.words[word] |= 1 << (tag % 64)
	full := 0
	for full < len(b.words) && b.words[full] == ^uint64(0) {
		full++
	}
	if full > 0 {
		b.base += uint64(full)
		b.words = append(b.words[:0], b.words[full:]...)
	}
}

// prefix returns the highest tag up to which every tag is in the set.
func (b *bitset) prefix() uint64 {
	if len(b.words) == 0 {
		return b.base * 64
	}
	return b.base*64 + uint64(bits.TrailingZeros64(^b.words[0]))
}
