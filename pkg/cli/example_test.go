package cli_test

import (
	"context"
	"fmt"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type greeting struct {
	Name string `json:"name" jsonschema:"minLength=1"`
}

// A program gives its own catalog a command line; main calls cli.Main, which takes the arguments of the process.
func ExampleRun() {
	greet := leveret.NewCommand[greeting]("greeter.greet")
	greeter := leveret.NewService("greeter", leveret.Handles(greet))
	catalog := leveret.NewCatalog(greeter)

	code := cli.Run(context.Background(), cli.Config{Catalog: catalog, Name: "greet", Args: []string{"contracts"}})
	fmt.Println(int(code))
	// Output:
	// NAME           KIND     OWNER    PAYLOAD            SERVED BY
	// greeter.greet  command  greeter  cli_test.greeting  greeter
	// 0
}
