package config_test

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

// The management API is the one that was given with the broker, or the one on its host.
func TestTheManagementAPIIsTheBrokers(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		env   map[string]string
		flags []string
		want  string
		says  string
	}{
		"both in the file":               {file: "url: amqp://one/\n  management_url: https://two/", want: "https://two/"},
		"only the API":                   {file: "management_url: https://two/", want: "https://two/"},
		"the API by a stronger source":   {file: "url: amqp://one/", env: map[string]string{"MANAGEMENT_URL": "https://two/"}, want: "https://two/"},
		"both by flags":                  {flags: []string{"--broker-url=amqp://one/", "--broker-management-url=https://two/"}, want: "https://two/"},
		"the broker by a variable":       {file: "url: amqp://a/\n  management_url: https://two/", env: map[string]string{"URL": "amqp://one/"}, says: "leveret.yaml:3"},
		"the broker by a flag":           {env: map[string]string{"URL": "amqp://two/", "MANAGEMENT_URL": "https://two/"}, flags: []string{"--broker-url=amqp://one/"}, says: "LEVERET_BROKER_MANAGEMENT_URL"},
		"the same host":                  {file: "url: amqp://a/\n  management_url: https://TWO:1/", env: map[string]string{"URL": "amqp://one/,amqp://two:2/"}, want: "https://TWO:1/"},
		"the host is the other's name":   {file: "management_url: https://one.two/", flags: []string{"--broker-url=amqp://one/"}, says: "leveret.yaml:2"},
		"only the password is elsewhere": {file: "url: amqp://one/\n  management_url: https://two/", env: map[string]string{"PASSWORD": "hunter2"}, want: "https://two/"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "leveret.yaml")
			require.NoError(t, os.WriteFile(file, []byte("broker:\n  "+cmp.Or(c.file, "heartbeat: 10s")+"\n"), 0o600))
			for _, key := range []string{"URL", "MANAGEMENT_URL", "PASSWORD"} {
				t.Setenv("LEVERET_BROKER_"+key, c.env[key])
			}
			schema := config.New()
			flags := pflag.NewFlagSet(t.Name(), pflag.ContinueOnError)
			schema.AddFlags(flags)
			require.NoError(t, flags.Parse(c.flags))
			loaded, err := schema.Load(flags, config.Options{File: file})
			require.NoError(t, err)
			b := loaded.Config().Broker
			require.Equal(t, c.want, b.ManagementURL)
			if c.says == "" {
				require.Empty(t, b.ManagementUnused)
				return
			}
			require.Contains(t, b.ManagementUnused, "broker.management_url (set by ")
			require.Contains(t, b.ManagementUnused, c.says)
		})
	}
}
