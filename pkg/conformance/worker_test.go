package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkerThatKeepsTheRules(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "rejects"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for _, r := range judge(t, Worker, how, workerPeer(how)) {
				if how == "rejects" && r.Rule == "W25" {
					require.Equal(t, NotTested, r.State)
					continue
				}
				require.Equal(t, Kept, r.State, "%+v", r)
			}
		})
	}
}

func TestWorkersThatBreakOneRule(t *testing.T) {
	t.Parallel()
	wrong := []string{"W9: dies", "W9: dies again", "W12: drops", "W16: acks", "W19: message_id", "W20: x-", "W21: CC", "W21: expiration", "W24: not mandatory", "W24: not confirmed"}
	for _, r := range Rules(Worker) {
		wrong = append(wrong, r.ID)
	}
	for _, w := range wrong {
		t.Run(w, func(t *testing.T) {
			t.Parallel()
			rule, _, _ := strings.Cut(w, ":")
			requireBroken(t, Worker, rule, judge(t, Worker, w, workerPeer(w)))
		})
	}
}
