package httprpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rpc"
	"github.com/leveretmq/leveret/pkg/schema"
)

// object is a JSON object. It is written with its members in the order of their names.
type object = map[string]any

// document is an OpenAPI document that is being made.
type document struct {
	schemas object // by name
}

// openAPI returns the OpenAPI 3.1 document of routes: the same bytes for the same routes.
func openAPI(config ServerConfig, routes []*route) ([]byte, error) {
	d := &document{schemas: object{"Problem": problemSchema()}}
	paths := make(map[string]object)
	for _, rt := range routes {
		operation, err := d.operation(config, rt)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rt.spec.Name, err)
		}
		if paths[rt.path] == nil {
			paths[rt.path] = object{}
		}
		paths[rt.path][strings.ToLower(rt.method)] = operation
	}
	components := object{
		"schemas":    d.schemas,
		"parameters": headerParameters(),
		"responses": object{"Problem": object{
			"description": "An error, as a problem (RFC 9457)",
			"headers": object{"Retry-After": object{
				"description": "After how many seconds it makes sense to try again", "schema": object{"type": "integer", "minimum": 1},
			}},
			"content": object{contentTypeProblem: object{"schema": ref("schemas", "Problem")}},
		}},
	}
	if config.Bearer {
		components["securitySchemes"] = object{"bearer": object{"type": "http", "scheme": "bearer"}}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(object{
		"openapi": "3.1.0",
		"info":    object{"title": config.Title, "version": config.Version},
		"servers": []object{{"url": "/"}},
		"paths":   paths, "components": components,
	})
	return b.Bytes(), err
}

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// operation describes a route.
func (d *document) operation(config ServerConfig, rt *route) (object, error) {
	payload, err := d.schema(rt.spec.Payload)
	if err != nil {
		return nil, err
	}
	reply, err := d.schema(rt.spec.Reply)
	if err != nil {
		return nil, err
	}
	success := object{"description": "Success"}
	if rt.Status != http.StatusNoContent {
		success["content"] = object{contentTypeJSON: object{"schema": reply}}
	}
	if rt.Location != "" {
		success["headers"] = object{"Location": object{"description": "Where the outcome is", "schema": object{"type": "string"}}}
	}
	operation := object{
		"operationId": rt.spec.Name,
		"responses":   object{strconv.Itoa(rt.Status): success, "default": ref("responses", "Problem")},
	}
	if rt.Summary != "" {
		operation["summary"] = rt.Summary
	}
	if config.Bearer {
		operation["security"] = []object{{"bearer": []string{}}}
		if rt.Public {
			operation["security"] = []object{}
		}
	}
	parameters, rest := d.parameters(rt, payload)
	if !rt.bodiless() && rest != nil {
		content := object{"schema": rest}
		operation["requestBody"] = object{"required": len(rt.params) == 0, "content": object{contentTypeJSON: content}}
		parameters = append(parameters, ref("parameters", rpc.IdempotencyKey))
	}
	operation["parameters"] = append(parameters, ref("parameters", rpc.Timeout))
	return operation, nil
}

// parameters returns the parameters of a route, and the schema of what remains for its body; nil if nothing does.
func (d *document) parameters(rt *route, payload object) (parameters []object, rest object) {
	at := payload
	if name, ok := strings.CutPrefix(fmt.Sprint(payload["$ref"]), "#/components/schemas/"); ok {
		at, _ = d.schemas[name].(object)
	}
	properties, _ := at["properties"].(object)
	required, _ := at["required"].([]any)
	for _, name := range rt.params {
		parameters = append(parameters, object{"name": name, "in": "path", "required": true, "schema": properties[name]})
	}
	if len(rt.params) == 0 && !rt.bodiless() {
		return parameters, payload
	}
	remaining, stillRequired := object{}, []any{}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if rt.names(name) {
			continue
		}
		remaining[name] = properties[name]
		if slices.Contains(required, any(name)) {
			stillRequired = append(stillRequired, name)
		}
		if _, ok := rt.fields[name]; ok && rt.bodiless() {
			parameters = append(parameters, object{
				"name": name, "in": "query", "required": slices.Contains(required, any(name)), "schema": properties[name],
			})
		}
	}
	if len(remaining) == 0 {
		return parameters, nil
	}
	rest = object{"type": "object", "properties": remaining}
	if len(stillRequired) > 0 {
		rest["required"] = stillRequired
	}
	return parameters, rest
}

// schema adds the schema of a type, and what it refers to, and returns a reference to it; or the schema itself if the
// type has no name.
func (d *document) schema(t reflect.Type) (object, error) {
	s, err := schema.Of(t)
	if err != nil {
		return nil, err
	}
	var root object
	if err := json.Unmarshal(s.JSON(), &root); err != nil {
		return nil, err
	}
	definitions, _ := root["$defs"].(object)
	delete(root, "$defs")
	delete(root, "$schema")
	names := make(map[string]string, len(definitions)) // of the definitions in this document
	for name := range definitions {
		names[name] = name
	}
	name := pointee(t).Name()
	for n, definition := range definitions {
		names[n] = d.free(n, redirect(definition, nil))
	}
	for n, definition := range definitions {
		d.schemas[names[n]] = redirect(definition, names)
	}
	root, _ = redirect(root, names).(object)
	if name == "" || strings.ContainsAny(name, "[]*/ ") {
		return root, nil
	}
	name = d.free(name, root)
	d.schemas[name] = root
	return ref("schemas", name), nil
}

// free returns a name under which the document has nothing else.
func (d *document) free(name string, value any) string {
	for n, candidate := 2, name; ; n++ {
		have, taken := d.schemas[candidate]
		if !taken || reflect.DeepEqual(have, value) {
			return candidate
		}
		candidate = name + strconv.Itoa(n)
	}
}

// redirect makes references to definitions lead to the document's components.
func redirect(value any, names map[string]string) any {
	switch value := value.(type) {
	case object:
		changed := make(object, len(value))
		for k, v := range value {
			if target, ok := v.(string); ok && k == "$ref" {
				name := strings.TrimPrefix(target, "#/$defs/")
				if renamed, ok := names[name]; ok {
					name = renamed
				}
				changed[k] = "#/components/schemas/" + name
				continue
			}
			changed[k] = redirect(v, names)
		}
		return changed
	case []any:
		changed := make([]any, len(value))
		for i, v := range value {
			changed[i] = redirect(v, names)
		}
		return changed
	default:
		return value
	}
}

// headerParameters are the headers that every request may have.
func headerParameters() object {
	return object{
		rpc.IdempotencyKey: object{
			"name": rpc.IdempotencyKey, "in": "header",
			"description": "Identifies the request: repeated under the same key, it has no further effect",
			"schema":      object{"type": "string", "maxLength": rpc.MaxText},
		},
		rpc.Timeout: object{
			"name": rpc.Timeout, "in": "header", "description": "How long the caller waits for the answer, in milliseconds",
			"schema": object{"type": "integer", "minimum": 1},
		},
	}
}

func problemSchema() object {
	codes := make([]any, 0, 16)
	for code := leveret.Canceled; code <= leveret.Unauthenticated; code++ {
		codes = append(codes, code.String())
	}
	return object{
		"type": "object", "required": []any{"type", "title", "status", "code"},
		"properties": object{
			"type": object{"type": "string"}, "title": object{"type": "string"}, "status": object{"type": "integer"},
			"detail": object{"type": "string"},
			"code":   object{"type": "string", "enum": codes},
			"reason": object{"type": "string", "description": "Names the error for programs, within its code"},
			"errors": object{
				"type": "array", "description": "The fields that are wrong",
				"items": object{"type": "object", "properties": object{"field": object{"type": "string"}, "detail": object{"type": "string"}}},
			},
			"retry_after_ms": object{"type": "integer"},
		},
	}
}
