package grpcrpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	testv1 "github.com/leveretmq/leveret/pkg/grpcrpc/internal/testproto/leveret/test/v1"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// wrongMethods returns a binding for each mistake that can be made in one.
func wrongMethods(r *request) []grpcrpc.Method {
	fromRequest := func(p *testv1.AskRequest) question { return question{p.GetDo(), p.GetN()} }
	toReply := func(q question) *testv1.AskResponse { return &testv1.AskResponse{Do: q.Do, N: q.N} }
	fromReply := func(p *testv1.AskResponse) question { return question{p.GetDo(), p.GetN()} }
	named := func(name string) grpcrpc.Method {
		return grpcrpc.Unary(r, name, askRequest, fromRequest, toReply, fromReply)
	}
	return []grpcrpc.Method{
		named("Ask"), named("/Ask"), named("leveret.test.v1.TestService/Ask"), named("/leveret.test.v2.TestService/Ask"),
		named("/leveret.test.v1.AskRequest/Ask"), named("/leveret.test.v1.TestService/Nope"),
		named(testv1.TestService_Watch_FullMethodName), named(testv1.GreetService_Greet_FullMethodName),
		grpcrpc.Unary(r, testv1.TestService_Ask_FullMethodName, askRequest, fromRequest, toReply, nil),
		grpcrpc.Unary(nil, testv1.TestService_Ask_FullMethodName, askRequest, fromRequest, toReply, fromReply),
	}
}

// All mistakes are reported at once, each in plain words.
func TestMistakesOfAServer(t *testing.T) {
	t.Parallel()
	k, other := newKitchen(), newKitchen()
	methods := append(wrongMethods(k.ask), k.method, k.method, other.method, grpcrpc.Method{})
	_, err := grpcrpc.NewServer(leveret.NewHandlers(k.answers, leveret.HandlersConfig{}), grpcrpc.ServerConfig{MaxRequest: -1}, methods...)
	for _, want := range []string{
		`has no handler for it`,
		`MaxRequest is -1; it must be positive`,
		`the request "test.ask", bound to "Ask": the name of a method looks like /package.Service/Method`,
		`bound to "/Ask": the name of a method`,
		`bound to "leveret.test.v1.TestService/Ask": the name of a method`,
		`the program links no generated code of the service "leveret.test.v2.TestService"`,
		`"leveret.test.v1.AskRequest" is not a service`,
		`the service has no method "Nope"`,
		`the method streams`,
		`the method takes leveret.test.v1.GreetRequest and returns leveret.test.v1.GreetResponse, not leveret.test.v1.AskRequest and leveret.test.v1.AskResponse`,
		`one of the four functions is nil`,
		`/leveret.test.v1.TestService/Ask is bound to a nil request`,
		`/leveret.test.v1.TestService/Ask is bound twice`,
		`a method that was not made by Unary`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, err, leveret.InvalidArgument)

	_, err = grpcrpc.NewServer(k.handlers(echo), grpcrpc.ServerConfig{}, other.method)
	require.ErrorContains(t, err, `there are two contracts named "test.ask": use the one that the service "test" declares`)
	require.ErrorIs(t, err, leveret.ErrUndeclared)
	_, err = grpcrpc.NewServer(k.handlers(echo), grpcrpc.ServerConfig{})
	require.ErrorContains(t, err, "there are no methods")
	_, err = grpcrpc.NewServer(nil, grpcrpc.ServerConfig{}, k.method)
	require.ErrorContains(t, err, "there are no handlers")
}
