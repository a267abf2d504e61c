package docs_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

type LogIn struct {
	Name     string         `json:"name"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=8,example=not-a-password"`
}

func TestSecretsInTheGuide(t *testing.T) {
	t.Parallel()
	require.Equal(t, "{ada [secret]}", fmt.Sprint(LogIn{"ada", "correct horse"}))
	s, err := schema.Of(reflect.TypeFor[LogIn]())
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"ada","password":"[secret]"}`, string(s.Redact([]byte(`{"name":"ada","password":"correct horse"}`))))
	require.JSONEq(t, `{"name":"name","password":"not-a-password"}`, string(s.Example()))
}
