package leveret

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func allCodes() []Code {
	all := make([]Code, 0, 16)
	for c := Canceled; c <= Unauthenticated; c++ {
		all = append(all, c)
	}
	return all
}

func TestCodesTravelAsText(t *testing.T) {
	t.Parallel()
	for _, c := range allCodes() {
		text, err := json.Marshal(c)
		require.NoError(t, err)
		require.Equal(t, `"`+c.String()+`"`, string(text))
		var back Code
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, c, back)
		require.ErrorIs(t, error(c), c)
		require.NotErrorIs(t, error(c), c%16+1)
	}
}

func TestUnknownCodes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Code{
		"NOT_FOUND": NotFound, "Not_Found": NotFound, "": Unknown, "teapot": Unknown, "code_5": Unknown, "5": Unknown,
	} {
		var c Code
		require.NoError(t, c.UnmarshalText([]byte(in)))
		require.Equal(t, want, c, "%q", in)
	}
	for _, c := range []Code{0, 17, 255} {
		require.Equal(t, 500, c.HTTPStatus())
		require.Contains(t, c.String(), "code_")
		require.Equal(t, Unknown, CodeOf(c), "what is no code is an error all the same")
		require.Equal(t, Unknown, CodeOf(&Error{Code: c}))
	}
}

// TestStatusesAreThoseOfGRPC pins the mapping that gRPC gateways use.
func TestStatusesAreThoseOfGRPC(t *testing.T) {
	t.Parallel()
	want := map[Code]int{
		Canceled: 499, Unknown: 500, InvalidArgument: 400, DeadlineExceeded: 504, NotFound: 404, AlreadyExists: 409,
		PermissionDenied: 403, ResourceExhausted: 429, FailedPrecondition: 400, Aborted: 409, OutOfRange: 400,
		Unimplemented: 501, Internal: 500, Unavailable: 503, DataLoss: 500, Unauthenticated: 401,
	}
	require.Len(t, want, len(allCodes()))
	for _, c := range allCodes() {
		require.Equal(t, want[c], c.HTTPStatus(), c.String())
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "handles", RoleHandles.String())
	require.Equal(t, "calls", RoleCalls.String())
	require.Equal(t, "?", Role(0).String())
	require.Equal(t, "?", Role(99).String())
	require.Equal(t, "expired", VerdictExpired.String())
	require.Equal(t, "none", Verdict(0).String())
	require.Equal(t, "unknown", Verdict(99).String())
	require.Equal(t, "request", KindRequest.String())
	require.Equal(t, "unknown", Kind(0).String())
	require.NotErrorIs(t, errors.New("x"), Unknown, "an error without a code is not one with the code unknown")
}
