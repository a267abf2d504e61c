package grpcrpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// A Caller keeps the contract of leveret.Caller.
func TestCallerKeepsItsContract(t *testing.T) {
	t.Parallel()
	s := leverettest.NewSuite()
	method := grpcrpc.Unary(s.Ask(), testv1.TestService_Ask_FullMethodName,
		func(p leverettest.SuitePayload) *testv1.AskRequest {
			return &testv1.AskRequest{Do: p.Do, N: int64(p.N)}
		},
		func(p *testv1.AskRequest) leverettest.SuitePayload {
			return leverettest.SuitePayload{Do: p.GetDo(), N: int(p.GetN())}
		},
		func(p leverettest.SuitePayload) *testv1.AskResponse {
			return &testv1.AskResponse{Do: p.Do, N: int64(p.N)}
		},
		func(p *testv1.AskResponse) leverettest.SuitePayload {
			return leverettest.SuitePayload{Do: p.GetDo(), N: int(p.GetN())}
		})
	server, err := grpcrpc.NewServer(s.Handlers(), grpcrpc.ServerConfig{}, method)
	require.NoError(t, err)
	l := listen(t)
	run(t, server, l)
	caller, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: s.Client(), Addresses: []string{l.Addr().String()}}, method)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, caller.Close()) })
	s.TestCaller(t, leverettest.CallerCase{Caller: caller, Disconnect: func() {
		_ = l.Close()
		l.cut()
	}})
}
