package definitions_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Policies could give a queue another dead-letter exchange, and shovels could move its messages: they are the
// administrator's, and so are users and permissions. Nobody of the definitions may set them, not even operators, who
// may look.
func TestPoliciesAreTheAdministrators(t *testing.T) {
	t.Parallel()
	s := imported(t, shop, topology.Isolated)
	vhost := url.PathEscape(leverettest.VHost(t, s.broker))
	for _, user := range []string{"order", operatorUser} {
		for path, body := range map[string]string{
			"policies/" + vhost + "/mine":                        `{"pattern": ".*", "definition": {"dead-letter-exchange": "commands.order"}}`,
			"parameters/shovel/" + vhost + "/mine":               `{"value": {"src-uri": "amqp://", "dest-uri": "amqp://"}}`,
			"permissions/" + vhost + "/" + s.prefix + user:       `{"configure": ".*", "write": ".*", "read": ".*"}`,
			"users/" + s.prefix + user:                           `{"password": "x", "tags": "administrator"}`,
			"topic-permissions/" + vhost + "/" + s.prefix + user: `{"exchange": "events.order", "write": ".*", "read": ".*"}`,
		} {
			password, err := passwordOf(s.prefix + user)
			require.NoError(t, err)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, leverettest.Node(t).ManagementURL()+"/api/"+path, strings.NewReader(body))
			require.NoError(t, err)
			r.SetBasicAuth(s.prefix+user, password)
			answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, answer.StatusCode, "%s: %s", user, path)
		}
	}
}
