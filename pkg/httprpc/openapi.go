package httprpc

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
)

// object is a JSON object, whose members are written in the order of their names.
type object = map[string]any

const components = "#/components/"

func ref(kind, name string) object { return object{"$ref": components + kind + "/" + name} }

// describe returns the OpenAPI 3.1 document of the endpoints. It is the same, byte for byte, for the same endpoints.
func (s *Server) describe(endpoints []*endpoint) ([]byte, error) {
	schemas := schemaSet{"Problem": problemSchema()}
	paths := make(map[string]object)
	for _, e := range endpoints {
		operation, err := e.describe(schemas)
		if err != nil {
			return nil, err
		}
		path := e.pattern.template()
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(e.pattern.method)] = operation
	}
	service := s.handlers.Service().Name()
	parts := map[string]object{
		"schemas": schemas.object(), "responses": s.problemResponses(), "headers": s.headers(), "parameters": headerParameters(),
	}
	document := struct {
		OpenAPI    string            `json:"openapi"`
		Info       object            `json:"info"`
		Servers    []object          `json:"servers"`
		Security   []object          `json:"security"`
		Tags       []object          `json:"tags"`
		Paths      map[string]object `json:"paths"`
		Components map[string]object `json:"components"`
	}{
		OpenAPI: "3.1.0",
		Info: object{
			"title": s.config.Title, "version": s.config.Version, "description": "Requests and answers are JSON in UTF-8. Errors " +
				"are problem details (RFC 9457): programs look at their code and reason.",
		},
		Servers:    []object{{"url": "/", "description": "Where this document is served."}},
		Security:   []object{}, // none, unless an operation says otherwise
		Tags:       []object{{"name": service, "description": "The requests that " + service + " answers."}},
		Paths:      paths,
		Components: parts,
	}
	if err := prune(paths, parts); err != nil {
		return nil, err
	}
	if s.config.Bearer {
		parts["securitySchemes"] = object{"bearer": object{"type": "http", "scheme": "bearer"}}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(document)
	return b.Bytes(), err
}

// prune removes the components that nothing refers to, and those that only they refer to.
func prune(paths map[string]object, parts map[string]object) error {
	for removed := true; removed; {
		removed = false
		document, err := json.Marshal([]any{paths, parts})
		if err != nil {
			return err
		}
		for kind, part := range parts {
			for name := range part {
				if !bytes.Contains(document, []byte(`"`+components+kind+"/"+name+`"`)) {
					delete(part, name)
					removed = true
				}
			}
			if len(part) == 0 {
				delete(parts, kind)
			}
		}
	}
	return nil
}

// describe returns the operation of one endpoint, and adds the schemas that it needs.
func (e *endpoint) describe(schemas schemaSet) (object, error) {
	payload, err := schemas.add(e.spec, "request")
	if err != nil {
		return nil, err
	}
	parameters, err := e.parameters(payload)
	if err != nil {
		return nil, err
	}
	success, err := e.success(schemas)
	if err != nil {
		return nil, err
	}
	operation := object{
		"operationId": e.spec.Name, "summary": e.route.Summary, "tags": []string{e.server.handlers.Service().Name()},
		"parameters": parameters, "responses": object{
			strconv.Itoa(e.route.Status): success,
			"4XX":                        ref("responses", "Problem4XX"),
			"5XX":                        ref("responses", "Problem5XX"),
		},
	}
	if e.hasBody() {
		body, err := payload.without(e.pattern.params())
		if err != nil {
			return nil, err
		}
		needed := true
		if len(e.pattern.params()) > 0 {
			_, needed = body["required"]
		}
		operation["requestBody"] = object{"required": needed, "content": object{contentTypeJSON: object{"schema": body}}}
	}
	if e.server.config.Bearer {
		operation["security"] = []object{}
		if !e.route.Public {
			operation["security"] = []object{{"bearer": []string{}}}
		}
	}
	return operation, nil
}

// hasBody reports whether there is anything that a body could hold. Clients are not bothered with one that is always empty.
func (e *endpoint) hasBody() bool {
	return !e.pattern.bodyless() && (!e.fields.object || len(e.fields.all) > len(e.pattern.params()))
}

// success describes the answer with a reply.
func (e *endpoint) success(schemas schemaSet) (object, error) {
	answer := object{
		"description": http.StatusText(e.route.Status),
		"headers":     e.server.answerHeaders(rpc.Conversation),
	}
	if e.location != nil {
		answer["headers"].(object)["Location"] = ref("headers", "Location") //nolint:forcetypeassert // it is made above
	}
	if e.route.Status == http.StatusNoContent {
		return answer, nil
	}
	reply, err := schemas.add(e.spec, "reply")
	if err != nil {
		return nil, err
	}
	answer["content"] = object{contentTypeJSON: object{"schema": reply.ref()}}
	return answer, nil
}

// parameters describes those in the path, in the query where there is no body, and in the header.
func (e *endpoint) parameters(payload namedSchema) ([]object, error) {
	properties, required, err := payload.fields()
	if err != nil {
		return nil, err
	}
	var all []object
	inPath := e.pattern.params()
	for _, name := range inPath {
		all = append(all, object{"name": name, "in": "path", "required": true, "schema": notNull(properties[name])})
	}
	if e.pattern.bodyless() {
		for _, f := range e.fields.all {
			if slices.Contains(inPath, f.name) {
				continue
			}
			all = append(all, object{
				"name": f.name, "in": "query", "required": slices.Contains(required, f.name), "schema": notNull(properties[f.name]),
			})
		}
	}
	if e.pattern.method != http.MethodGet { // which may be repeated anyway
		all = append(all, ref("parameters", rpc.IdempotencyKey))
	}
	return append(all, ref("parameters", rpc.Timeout)), nil
}

// notNull returns the schema of a field without null, which a parameter cannot be.
func notNull(property json.RawMessage) json.RawMessage {
	var alternatives struct {
		AnyOf []json.RawMessage `json:"anyOf"` //nolint:tagliatelle // JSON Schema's name
	}
	if json.Unmarshal(property, &alternatives) == nil && len(alternatives.AnyOf) == 2 && string(alternatives.AnyOf[1]) == `{"type":"null"}` {
		return alternatives.AnyOf[0]
	}
	return property
}

func problemSchema() json.RawMessage {
	codes := make([]string, 0, leveret.Unauthenticated)
	for c := leveret.Canceled; c <= leveret.Unauthenticated; c++ {
		codes = append(codes, c.String())
	}
	text := func(description string) object { return object{"type": "string", "description": description} }
	document, _ := json.Marshal(object{ //nolint:errchkjson // it is text and numbers
		"type": "object", "description": "Problem details (RFC 9457).", "required": []string{"type", "title", "status", "code"},
		"properties": object{
			"type":   object{"type": "string", "format": "uri-reference", "description": "Always about:blank: see code and reason."},
			"title":  text("The code."),
			"status": object{"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
			"detail": text("What is wrong, for people. It may change."),
			"code":   object{"type": "string", "enum": codes, "description": "The kind of error, for programs."},
			"reason": text("Names the error for programs. " + leveret.ReasonOutcomeUnknown + ": the request may have been handled."),
			"errors": object{"type": "array", "description": "The fields that are wrong.", "items": object{
				"type": "object", "required": []string{"field", "detail"}, "properties": object{
					"field": text("Its name, as in lines[0].quantity."), "detail": text("What is wrong with it, for people."),
				},
			}},
			"retry_after_ms": object{
				"type": "integer", "format": "int64", "minimum": 0,
				"description": "After how many milliseconds to try again. Retry-After has the same in seconds.",
			},
		},
	})
	return document
}

// answerHeaders refers to the headers of an answer.
func (s *Server) answerHeaders(names ...string) object {
	if !s.config.Anonymous {
		names = append(names, rpc.AnsweredBy)
	}
	all := object{}
	for _, name := range names {
		all[name] = ref("headers", name)
	}
	return all
}

func (s *Server) problemResponses() object {
	response := func(description string) object {
		return object{
			"description": description, "headers": s.answerHeaders("Retry-After"),
			"content": object{contentTypeProblem: object{"schema": ref("schemas", "Problem")}},
		}
	}
	return object{
		"Problem4XX": response("The request is refused."),
		"Problem5XX": response("The service has failed, or something that it needs is away. With the reason " +
			leveret.ReasonOutcomeUnknown + ", the request may have been handled."),
	}
}

func (s *Server) headers() object {
	text := object{"type": "string"}
	all := object{
		rpc.Conversation: object{"description": "Shared by all that follows from the request.", "schema": text},
		"Location": object{
			"description": "Where to find what the reply is about.", "schema": object{"type": "string", "format": "uri-reference"},
		},
		"Retry-After": object{"description": "After how many seconds to try again.", "schema": object{"type": "integer", "minimum": 1}},
	}
	if !s.config.Anonymous {
		all[rpc.AnsweredBy] = object{"description": "The instance that has answered.", "schema": text}
	}
	return all
}

func headerParameters() object {
	return object{
		rpc.IdempotencyKey: object{
			"name": rpc.IdempotencyKey, "in": "header", "schema": object{"type": "string"},
			"description": "Identifies the request. One that is sent again with the same key and the same content has its " +
				"effects once. Up to 255 bytes of any text; what is no token is written as a string or a display string of " +
				"RFC 9651. Default: a new id.",
		},
		rpc.Timeout: object{
			"name": rpc.Timeout, "in": "header", "schema": object{"type": "integer", "minimum": 1},
			"description": "How long the client waits, in milliseconds. Default, and the most: the request's own timeout.",
		},
	}
}
