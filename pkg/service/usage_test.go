package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/service"
)

// Wrong use is an error with the next step, whether or not help was asked for.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	program := service.Program{Service: units, Setup: setUpProcess}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"no-such"}, "unitd: unknown argument \"no-such\"; see unitd --help\n"},
		{[]string{"no-such", "--help"}, "unitd: unknown argument \"no-such\"; see unitd --help\n"},
		{[]string{"--help", "no-such"}, "unitd: unknown argument \"no-such\"; see unitd --help\n"},
		{[]string{"healthchek"}, "unitd: unknown argument \"healthchek\" (did you mean healthcheck?); see unitd --help\n"},
		{[]string{"healthchek", "-h"}, "unitd: unknown argument \"healthchek\" (did you mean healthcheck?); see unitd --help\n"},
		{[]string{"healthcheck", "now", "--help"}, "unitd: unknown argument \"now\"; see unitd healthcheck --help\n"},
		{[]string{"--hepl"}, "unitd: unknown flag: --hepl (did you mean --help?); see unitd --help\n"},
		{[]string{"--broker-ulr=x"}, "unitd: unknown flag: --broker-ulr (did you mean --broker-url?); see unitd --help\n"},
	} {
		var out, errs log
		require.Equal(t, 2, program.Run(t.Context(), c.args, &out, &errs), c.args)
		require.Equal(t, c.want, errs.String())
		require.Empty(t, out.String(), c.args)
	}
	for _, args := range [][]string{{"--help"}, {"-h"}, {"healthcheck", "--help"}} {
		var out, errs log
		require.Zero(t, program.Run(t.Context(), args, &out, &errs), args)
		require.Contains(t, out.String(), "Usage:", args)
		require.Empty(t, errs.String(), args)
	}
}
