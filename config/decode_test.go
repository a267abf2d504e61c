package config_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

type payment struct {
	DeclineAbove int64    `config:"decline_above"`
	Networks     []string `config:"networks"`
	APIKey       secret   `config:"api_key"`
	Cache        map[string]int
}

type secret string

func (p *payment) Validate() error {
	if p.DeclineAbove == 13 {
		return errors.New("13 brings bad luck")
	}
	return nil
}

func TestDecodeOwnKeys(t *testing.T) {
	t.Parallel()
	overrides := map[string]string{"payment.decline_above": "5", "payment.api_key": "s"}
	l, err := config.New(own()...).Load(nil, config.Options{Overrides: overrides})
	require.NoError(t, err)
	var p payment
	require.NoError(t, l.Decode("payment", &p))
	require.Equal(t, payment{DeclineAbove: 5, Networks: []string{"visa", "amex"}, APIKey: "s"}, p)

	overrides["payment.decline_above"] = "13"
	l, err = config.New(own()...).Load(nil, config.Options{Overrides: overrides})
	require.NoError(t, err)
	require.ErrorContains(t, l.Decode("payment", &p), "payment: 13 brings bad luck")
}

func TestDecodeForgetsNothing(t *testing.T) {
	t.Parallel()
	l, err := config.New(own()...).Load(nil, config.Options{})
	require.NoError(t, err)
	require.ErrorContains(t, l.Decode("payment", payment{}), "needs a pointer to a struct")
	require.ErrorContains(t, l.Decode("payment", &struct {
		A int `config:"decline_above"`
	}{}), "no field of")
	require.ErrorContains(t, l.Decode("payment", &struct {
		A int `config:"decline"`
	}{}), "has the key payment.decline, which is not in the table")
	require.ErrorContains(t, l.Decode("payment", &struct {
		A string `config:"decline_above"`
	}{}), "is a string, but the key payment.decline_above is a int")
	require.ErrorContains(t, l.Decode("payment", &struct {
		A time.Duration `config:"decline_above"`
	}{}), "is a time.Duration")
	require.ErrorContains(t, l.Decode("worker", &struct {
		A int `config:"drain_timeout"`
	}{}), "is a int, but")
	require.ErrorContains(t, l.Decode("payment", &struct {
		a int `config:"decline_above"`
	}{}), "not exported")
}
