// Package grpcrpc serves and calls requests over gRPC. A generated service stays what it is, for clients and servers in
// any language; [Unary] binds one of its methods to a request of Leveret, with four functions that convert between the
// two kinds of Go types. Then [NewServer] serves the same handlers that a worker serves over RabbitMQ, and a [Caller]
// makes the same calls as a client:
//
//	method := grpcrpc.Unary(queues.Greet, greetv1.GreetService_Greet_FullMethodName,
//		func(q Question) *greetv1.GreetRequest { return &greetv1.GreetRequest{Name: q.Name} },
//		func(p *greetv1.GreetRequest) Question { return Question{Name: p.GetName()} },
//		func(r Answer) *greetv1.GreetResponse { return &greetv1.GreetResponse{Text: r.Text} },
//		func(p *greetv1.GreetResponse) Answer { return Answer{Text: p.GetText()} })
//	server, err := grpcrpc.NewServer(handlers, grpcrpc.ServerConfig{}, method)
//	caller, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: service, Addresses: addresses}, method)
//	answer, err := queues.Greet.Call(ctx, caller, Question{Name: "Ada"})
//
// docs/grpc.md describes what travels: metadata, errors and their details, deadlines, and limits.
package grpcrpc
