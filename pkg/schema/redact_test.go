package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

type login struct {
	User     string         `json:"user"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=12,maxLength=64"`
}

type card struct {
	Token leveret.Secret  `json:"card_token" jsonschema:"pattern=^tok_[a-z]+$,example=tok_visa"`
	PIN   *leveret.Secret `json:"pin" jsonschema:"pattern=^[0-9]{4}$"`
}

// opaque encodes itself, so which part of it is secret cannot be known.
type opaque struct{ inner leveret.Secret }

func (o opaque) MarshalJSON() ([]byte, error) { return json.Marshal([]string{string(o.inner)}) }

// vault has secrets wherever a type can have them.
type vault struct {
	card
	login
	Logins  []login                   `json:"logins,omitempty"`
	Keys    []leveret.Secret          `json:"keys,omitempty"`
	ByName  map[string]leveret.Secret `json:"by_name,omitempty"`
	ByID    map[int]*login            `json:"by_id,omitempty"`
	Pairs   [][2]*leveret.Secret      `json:"pairs,omitempty"`
	Next    *vault                    `json:"next,omitempty"`
	Opaque  opaque                    `json:"opaque,omitzero"`
	Left    leveret.Secret            `json:"left,omitempty" jsonschema:"-"`
	Amount  json.Number               `json:"amount,omitempty"`
	Free    any                       `json:"free,omitempty"`
	Labels  map[string]string         `json:"labels,omitempty"`
	Article struct {
		SKU string `json:"sku"`
	} `json:"article,omitzero"`
}

func TestRedact(t *testing.T) {
	t.Parallel()
	s := of(t, vault{})
	require.True(t, s.HasSecrets())
	for _, c := range []struct{ name, body, want string }{
		{"no secrets", `{ "amount": 1.50e3,  "labels": {"a":"b"} }`, `{ "amount": 1.50e3,  "labels": {"a":"b"} }`},
		{
			"byte for byte", " {\n\t\"user\" : \"a\\u0062\",\"password\" :\t\"x\\\"}\" , \"amount\":12345678901234567890.10}\n",
			" {\n\t\"user\" : \"a\\u0062\",\"password\" :\t\"[secret]\" , \"amount\":12345678901234567890.10}\n",
		},
		{"any case", `{"PASSWORD":"x","Pa\u0073sword":"x","paſſword":"x"}`, `{"PASSWORD":"[secret]","Pa\u0073sword":"[secret]","paſſword":"[secret]"}`},
		{"twice", `{"password":"x","password":"y"}`, `{"password":"[secret]","password":"[secret]"}`},
		{"empty", `{"password":"","pin":""}`, `{"password":"[secret]","pin":"[secret]"}`},
		{"null", `{"password":null,"pin":null,"keys":null,"next":null}`, `{"password":null,"pin":null,"keys":null,"next":null}`},
		{"another type", `{"password":7,"pin":{"a":["b"]},"card_token":[true]}`, `{"password":"[secret]","pin":"[secret]","card_token":"[secret]"}`},
		{"lists", `{"keys":["x",1,null,{"a":"b"}],"pairs":[["x",null],"y"]}`, `{"keys":["[secret]","[secret]",null,"[secret]"],"pairs":[["[secret]",null],"[secret]"]}`},
		{"maps", `{"by_name":{"a":"x","b":null},"by_id":{"1":{"user":"a","password":"x"}}}`, `{"by_name":{"a":"[secret]","b":null},"by_id":{"1":{"user":"a","password":"[secret]"}}}`},
		{"deep", `{"next":{"next":{"logins":[{"user":"a","password":"x"}]}}}`, `{"next":{"next":{"logins":[{"user":"a","password":"[secret]"}]}}}`},
		{"encodes itself", `{"opaque":["x"]}`, `{"opaque":"[secret]"}`},
		{"left out of the JSON Schema", `{"left":"x"}`, `{"left":"[secret]"}`},
		{"misspelt", `{"pasword":"x","logins":[{"passwort":["x"]}]}`, `{"pasword":"[secret]","logins":[{"passwort":"[secret]"}]}`},
		{
			"elsewhere", `{"free":{"a":[{"Password":"x","b":1}]},"labels":{"pin":"x","a":"b"},"article":{"sku":"a","b":"c","card_token":"x"}}`,
			`{"free":{"a":[{"Password":"[secret]","b":1}]},"labels":{"pin":"[secret]","a":"b"},"article":{"sku":"a","b":"c","card_token":"[secret]"}}`,
		},
		{"in place of an object", `{"logins":["x"],"next":"x","by_id":{"1":"x"}}`, `{"logins":["[secret]"],"next":"[secret]","by_id":{"1":"[secret]"}}`},
		{"in place of all", `"x"`, `"[secret]"`},
		{"no JSON", `{"password":"x"`, `[secret]: 15 bytes that are not JSON`},
		{"trailing", `{"password":"x"}{}`, `[secret]: 18 bytes that are not JSON`},
		{"no bytes", ``, ``},
		{"no object", `null`, `null`},
		{"empty object", `{}`, `{}`},
	} {
		require.Equal(t, c.want, string(s.Redact([]byte(c.body))), c.name)
	}
	none := of(t, order{})
	require.False(t, none.HasSecrets())
	require.Equal(t, `{"password":`, string(none.Redact([]byte(`{"password":`))))
	require.Equal(t, `"[secret]"`, string(of(t, leveret.Secret("")).Redact([]byte(`"x"`))))
}

func TestSecretsAsKeys(t *testing.T) {
	t.Parallel()
	_, err := schema.Of(reflect.TypeFor[map[leveret.Secret]int]())
	require.EqualError(t, err, "the schema of map[leveret.Secret]int: the keys of map[leveret.Secret]int are secrets, but names cannot be hidden")
}

func TestSecretsInTheJSONSchema(t *testing.T) {
	t.Parallel()
	type payload struct {
		Plain    leveret.Secret   `json:"plain"`
		Tagged   leveret.Secret   `json:"tagged" jsonschema:"minLength=3,pattern=^a,format=uuid,description=x"`
		Optional *leveret.Secret  `json:"optional"`
		List     []leveret.Secret `json:"list"`
		login
	}
	require.JSONEq(t, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["plain", "tagged", "optional", "list", "user", "password"],
		"properties": {
			"plain": {"type": "string", "format": "password", "writeOnly": true},
			"tagged": {"type": "string", "format": "uuid", "minLength": 3, "pattern": "^a", "description": "x", "writeOnly": true},
			"optional": {"anyOf": [{"type": "string", "format": "password", "writeOnly": true}, {"type": "null"}], "writeOnly": true},
			"list": {"anyOf": [{"type": "array", "items": {"type": "string", "format": "password", "writeOnly": true}}, {"type": "null"}]},
			"user": {"type": "string"},
			"password": {"type": "string", "format": "password", "minLength": 12, "maxLength": 64, "writeOnly": true}
		}
	}`, string(of(t, payload{}).JSON()))
}

func TestExampleOfSecrets(t *testing.T) {
	t.Parallel()
	require.JSONEq(t, `{"user":"user","password":"[secret]xxxx"}`, string(of(t, login{}).Example()))
	s := of(t, card{})
	require.JSONEq(t, `{"card_token":"tok_visa","pin":"[secret]"}`, string(s.Example()), "a pattern without an example cannot be met")
	require.Equal(t, `{"card_token": "tok_visa", "pin": null, "x":"[secret]"}`, string(s.Placeholders([]byte(`{"card_token": "tok_real", "pin": null, "x":1}`))))
	require.Equal(t, `[{"password":"[secret]xxxx","user":"ada"}]`, string(of(t, []*login{}).Placeholders([]byte(`[{"password":"correct horse","user":"ada"}]`))))
}

// planted is a secret that no test data contains by chance.
const planted = "hunter2-correct-horse"

func TestCheckQuotesNoSecret(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value      any
		body, want string
	}{
		{login{}, `{"user":"a","password":"` + strings.Repeat(planted, 9) + `"}`, "password: must be at most 64 characters long"},
		{login{}, `{"user":"a","password":"hunter2"}`, "password: must be at least 12 characters long"},
		{login{}, `{"user":"a","password":["` + planted + `"]}`, "password: must be a string"},
		{login{}, `{"user":"a","pasword":"` + planted + `"}`, "password: is missing"},
		{login{}, `"` + planted + `"`, "must be an object"},
		{login{}, `{"user":"a","password":"` + planted, "the payload is not JSON: it ends too early"},
		{card{}, `{"card_token":"` + planted + `","pin":"` + planted + `"}`, "card_token: must match ^tok_[a-z]+$; pin: must match ^[0-9]{4}$"},
		{[]leveret.Secret{}, `["x",{"` + planted + `":1}]`, "[1]: must be a string"},
		{struct {
			Quoted leveret.Secret `json:"quoted,string"`
		}{}, `{"quoted":"` + planted + `"}`, "the payload cannot be decoded into struct { Quoted leveret.Secret \"json:\\\"quoted,string\\\"\" }"},
		{struct {
			Inner login
			N     int8
		}{}, `{"Inner":{"user":"a","password":"` + planted + `"},"N":300}`, "N: must be <= 127, is 300"},
		{struct {
			Password leveret.Secret
			Kind     leveret.Secret `jsonschema:"enum=a,enum=b"`
			F        float32
		}{}, `{"PASSWORD":"` + planted + `","Kind":"` + planted + `","Password":"x","F":1e99}`, `Kind: must be one of "a", "b"`},
	} {
		unknown, err := of(t, c.value).Check([]byte(c.body))
		require.EqualError(t, err, c.want)
		require.NotContains(t, fmt.Sprint(unknown), planted)
	}
}

// plant returns JSON that holds the planted secret at random places of a vault, under names in random case.
func plant(r *rand.Rand, depth int) string {
	secret := func() string {
		switch r.IntN(6) {
		case 0:
			return `["` + planted + `"]`
		case 1:
			return `{"a":"` + planted + `"}`
		default:
			return `"` + planted + `"`
		}
	}
	name := func(text string) string {
		runes := []rune(text)
		for i := range runes {
			if r.IntN(3) == 0 {
				runes[i] = []rune(strings.ToUpper(string(runes[i])))[0]
			}
		}
		if r.IntN(4) == 0 {
			return fmt.Sprintf(`"\u%04x%s"`, runes[0], string(runes[1:]))
		}
		return `"` + string(runes) + `"`
	}
	var fields []string
	for range r.IntN(6) {
		inner := "null"
		if depth > 0 {
			inner = plant(r, depth-1)
		}
		fields = append(fields, [...]string{
			name("password") + ":" + secret(),
			name("card_token") + ": " + secret(),
			name("pin") + " :" + secret(),
			name("logins") + `:[{` + name("password") + `:` + secret() + `},` + secret() + `]`,
			name("keys") + `:[` + secret() + `,` + secret() + `]`,
			name("by_name") + `:{"a":` + secret() + `}`,
			name("by_id") + `:{"1":` + secret() + `}`,
			name("pairs") + `:[[` + secret() + `]]`,
			name("next") + `:` + inner,
			name("next") + `:` + secret(),
			name("opaque") + `:` + secret(),
			name("left") + `:` + secret(),
			name("free") + `:{"a":[{` + name("pin") + `:` + secret() + `}]}`,
			name("labels") + `:{` + name("password") + `:` + secret() + `}`,
			name("somethingelse") + `:` + secret(),
			name("amount") + `:1.0`,
		}[r.IntN(16)])
	}
	return `{` + strings.Join(fields, " , ") + `}`
}

func TestNoPlantedSecretIsLeft(t *testing.T) {
	t.Parallel()
	s := of(t, vault{})
	for seed := range uint64(300) {
		body := []byte(plant(rand.New(rand.NewPCG(seed, 0)), 4))
		require.True(t, json.Valid(body), string(body))
		for _, shown := range [][]byte{s.Redact(body), s.Placeholders(body)} {
			require.True(t, json.Valid(shown), string(shown))
			require.NotContains(t, string(shown), planted, string(body))
		}
		unknown, err := s.Check(body)
		require.NotContains(t, fmt.Sprint(unknown, err), planted, string(body))
	}
}

// FuzzRedact: what a receiver would decode into a secret is never shown, and the rest stays as it is.
func FuzzRedact(f *testing.F) {
	for seed := range uint64(30) {
		f.Add([]byte(plant(rand.New(rand.NewPCG(seed, 1)), 2)))
	}
	f.Add([]byte(`{"password":"x"`))
	f.Add([]byte(` [ ] `))
	s, err := schema.Of(reflect.TypeFor[vault]())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		shown := s.Redact(body)
		if !json.Valid(body) {
			if len(bytes.TrimSpace(body)) > 0 {
				require.Equal(t, fmt.Sprintf("[secret]: %d byte", len(body)), strings.SplitAfter(string(shown), "byte")[0])
			}
			return
		}
		require.True(t, json.Valid(shown), "%s", shown)
		require.Equal(t, string(shown), string(s.Redact(shown)), "what is hidden stays hidden")
		var v vault
		if json.Unmarshal(shown, &v) != nil {
			return
		}
		for at := &v; at != nil; at = at.Next {
			secrets := append([]leveret.Secret{at.Token, at.Left, at.Password}, at.Keys...)
			if at.PIN != nil {
				secrets = append(secrets, *at.PIN)
			}
			for _, l := range at.Logins {
				secrets = append(secrets, l.Password)
			}
			for _, secret := range at.ByName {
				secrets = append(secrets, secret)
			}
			for _, secret := range secrets {
				require.Contains(t, []leveret.Secret{"", "[secret]"}, secret)
			}
		}
	})
}
