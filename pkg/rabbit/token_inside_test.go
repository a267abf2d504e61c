package rabbit

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// genuine is a token of RabbitMQ 3.10.8.
const genuine = "g1h2AA5yZXBseUAzMDk1OTkyNAAAA1EAAAAAawvw4A==.P8m90p9EBEA/Qc+62zz2BQ=="

// TestTokenNode: of tokens, only those count as of one node that no node would choke on which takes one of them.
func TestTokenNode(t *testing.T) {
	t.Parallel()
	var space [96]byte
	node, ok := tokenNode(space[:], genuine)
	require.True(t, ok)
	require.Equal(t, "\x83Xv\x00\x0ereply@30959924", string(node))

	pid, err := base64.StdEncoding.DecodeString(strings.Split(genuine, ".")[0])
	require.NoError(t, err)
	altered := func(at int, to ...byte) string {
		p := append([]byte(nil), pid...)
		copy(p[at:], to)
		return base64.StdEncoding.EncodeToString(p) + ".key"
	}
	for what, token := range map[string]string{
		"another id": altered(19, 0, 0, 0x7f, 0xff), "another serial": altered(23, 0, 0, 0x1f, 0xff),
		"another creation": altered(27, 0xff, 0xff, 0xff, 0xff), "another key": altered(0) + "+/=.x",
	} {
		same, ok := tokenNode(space[:], token)
		require.True(t, ok, what)
		require.Equal(t, "\x83Xv\x00\x0ereply@30959924", string(same), what)
	}
	other, ok := tokenNode(space[:], altered(18, '5'))
	require.True(t, ok)
	require.Equal(t, "\x83Xv\x00\x0ereply@30959925", string(other))

	for what, token := range map[string]string{
		"empty": "", "a dot": ".", "no dot": strings.Split(genuine, ".")[0], "truncated": "g1h2AA==.key", "not base64": "*.key",
		"a space": genuine[:4] + " " + genuine[4:], "a line": genuine[:4] + "\n" + genuine[4:], "a key of bytes": altered(0) + "\xff\x00",
		"unused bits":     "g1h2AA5yZXBseUAzMDk1OTkyNAAAA1EAAAAAawvw4B==.key",
		"an id too large": altered(19, 0, 0, 0x80, 0), "a serial too large": altered(23, 0, 0, 0x20, 0), "the largest id": altered(19, 255, 255, 255, 255),
		"another version": altered(0, 130), "another term": altered(1, 103), "an atom that is none": altered(2, 97), "another length": altered(4, 13),
		"a longer length": altered(4, 15), "another name": altered(5, 'x'), "a number from 0": altered(11, '0'), "no number": altered(12, 'a'),
		"more behind it": base64.StdEncoding.EncodeToString(append(append([]byte(nil), pid...), 1, 2, 3)) + ".key",
		"less":           base64.StdEncoding.EncodeToString(pid[:len(pid)-1]) + ".key", "no name": base64.StdEncoding.EncodeToString(append([]byte{131, 88, 119, 0}, pid[19:]...)) + ".key",
		"long": strings.Repeat("A", 200) + ".key", "only numbers": base64.StdEncoding.EncodeToString(pid[16:]) + ".key",
	} {
		_, ok := tokenNode(space[:], token)
		require.False(t, ok, what)
	}
}

func FuzzTokenNode(f *testing.F) {
	f.Add(genuine)
	f.Add("g1h2AA==.key")
	f.Fuzz(func(t *testing.T, token string) {
		var space [96]byte
		if node, ok := tokenNode(space[:], token); ok {
			require.Contains(t, string(node), "reply@")
			require.NotContains(t, token, "\n")
		}
	})
}

// TestHardened: of versions, and of what is none.
func TestHardened(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"3.10.8": false, "3.13.7": false, "4.0.5": false, "4.2.1": false, "4.3.0": true, "4.3.6": true, "4.10.0": true, "5.0.0-rc.1": true, "": false, "x": false,
	} {
		require.Equal(t, want, hardened(version), version)
	}
}

// TestProofIsOfANode: with one token, all of its node are proven that have its form. One of no known form, such as a
// newer broker may make, proves itself alone.
func TestProofIsOfANode(t *testing.T) {
	t.Parallel()
	s := &session{conn: new(Conn)}
	proven := func(token string) bool { _, ok := s.proven(tokenPrefix + token); return ok }
	prove := func(token string) {
		what, ok := s.proven(tokenPrefix + token)
		require.False(t, ok)
		s.conn.proofs.add(what)
		require.True(t, proven(token))
	}
	prove(genuine)
	require.True(t, proven(genuine+"x"), "of the same node")
	prove("abc")
	require.False(t, proven("abcd"))
	for i := range maxProven {
		s.conn.proofs.add(tokenPrefix + strconv.Itoa(i))
	}
	require.False(t, proven("abc"), "only so many are remembered")
	require.True(t, proven(genuine), "which concerns no node")
	s.conn.proofs.forget()
	require.False(t, proven(genuine))
}

// TestRepliesApartAreBounded: what does not fit is refused, and what comes after the end as well.
func TestRepliesApartAreBounded(t *testing.T) {
	t.Parallel()
	conn, err := Dial(t.Context(), Config{URLs: []string{"amqp://127.0.0.1:1/"}, NoWait: true, OnFailure: func(error) {}})
	require.NoError(t, err)
	large := &Publication{Publishing: Publishing{Body: make([]byte, maxUnprovenSize)}}
	require.NoError(t, conn.replies.send(large, func() {}))
	require.ErrorIs(t, conn.replies.send(large, func() {}), ErrBlocked)
	for range maxUnproven - 1 {
		require.NoError(t, conn.replies.send(&Publication{}, func() {}))
	}
	require.ErrorIs(t, conn.replies.send(&Publication{}, func() {}), ErrBlocked)
	require.NoError(t, conn.Close(t.Context()))
	require.ErrorIs(t, conn.replies.send(&Publication{}, func() {}), ErrClosed)
}

// BenchmarkProven is what a proven reply costs.
func BenchmarkProven(b *testing.B) {
	s := &session{conn: new(Conn)}
	common, _ := s.proven(tokenPrefix + genuine)
	s.conn.proofs.add(common)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.proven(tokenPrefix + genuine); !ok {
			b.Fatal("not proven")
		}
	}
}
