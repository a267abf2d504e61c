// Package kubernetes checks the manifests beside it: their form against Kubernetes' own types and KEDA's schemas, and their
// content against the programs and their contracts.
package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/shop/programs"
	"github.com/leveretmq/leveret/pkg/topology"
)

// manifests are what kubectl apply -k would send.
type manifests struct {
	deployments map[string]*appsv1.Deployment
	services    map[string]*corev1.Service
	configMaps  map[string]*corev1.ConfigMap
	budgets     map[string]*policyv1.PodDisruptionBudget
	policies    map[string]*networkingv1.NetworkPolicy
	scaled      map[string]map[string]any // KEDA's
}

// build renders a folder, and decodes every object: a field that Kubernetes does not know is an error.
func build(t *testing.T, folder string) *manifests {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	m := &manifests{
		map[string]*appsv1.Deployment{},
		map[string]*corev1.Service{},
		map[string]*corev1.ConfigMap{},
		map[string]*policyv1.PodDisruptionBudget{},
		map[string]*networkingv1.NetworkPolicy{},
		map[string]map[string]any{},
	}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		require.NoError(t, err)
		name := r.GetName()
		require.Equal(t, "shop", r.GetNamespace(), name)
		require.Equal(t, "shop", r.GetLabels()["app.kubernetes.io/part-of"], name)
		switch kind := r.GetApiVersion() + " " + r.GetKind(); kind {
		case "apps/v1 Deployment":
			m.deployments[name] = strict[appsv1.Deployment](t, text)
		case "v1 Service":
			m.services[name] = strict[corev1.Service](t, text)
		case "v1 ConfigMap":
			m.configMaps[name] = strict[corev1.ConfigMap](t, text)
		case "policy/v1 PodDisruptionBudget":
			m.budgets[name] = strict[policyv1.PodDisruptionBudget](t, text)
		case "networking.k8s.io/v1 NetworkPolicy":
			m.policies[name] = strict[networkingv1.NetworkPolicy](t, text)
		case "keda.sh/v1alpha1 ScaledObject":
			m.scaled[name], err = valid(text, "scaledobjects")
			require.NoError(t, err, "%s", text)
		case "keda.sh/v1alpha1 TriggerAuthentication":
			_, err = valid(text, "triggerauthentications")
			require.NoError(t, err, "%s", text)
		default:
			t.Errorf("%s: nothing here checks %s", name, kind)
		}
	}
	return m
}

func strict[T any](t *testing.T, text []byte) *T {
	t.Helper()
	object := new(T)
	require.NoError(t, yaml.UnmarshalStrict(text, object), "%s", text)
	return object
}

// valid checks an object against the schema in KEDA's own definition, which is closed here: Kubernetes would drop a field
// that it does not name.
func valid(text []byte, plural string) (map[string]any, error) {
	definition, err := os.ReadFile(filepath.Join("testdata", "keda", "keda.sh_"+plural+".yaml"))
	if err != nil {
		return nil, err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(definition, &crd); err != nil {
		return nil, err
	}
	root := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	closeObjects(root)
	root["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"} // Kubernetes' own
	content, err := json.Marshal(root)
	if err != nil {
		return nil, err
	}
	var schema openapi3.Schema
	if err := json.Unmarshal(content, &schema); err != nil {
		return nil, err
	}
	var object map[string]any
	if err := yaml.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	return object, schema.VisitJSON(object)
}

// closeObjects forbids properties that a schema does not name.
func closeObjects(schema map[string]any) {
	for _, part := range schema {
		switch part := part.(type) {
		case map[string]any:
			closeObjects(part)
		case []any:
			for _, one := range part {
				if one, ok := one.(map[string]any); ok {
					closeObjects(one)
				}
			}
		}
	}
	if _, ok := schema["properties"].(map[string]any); ok && schema["type"] == "object" && schema["additionalProperties"] == nil {
		schema["additionalProperties"] = false
	}
}

// environment returns the settings of a container, those of its ConfigMap included.
func (m *manifests) environment(t *testing.T, c corev1.Container) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		config := m.configMaps[from.ConfigMapRef.Name]
		require.NotNil(t, config, from.ConfigMapRef.Name)
		maps.Copy(all, config.Data)
	}
	for _, e := range c.Env {
		require.Nil(t, e.ValueFrom, "secrets are files: %s", e.Name)
		all[e.Name] = e.Value
	}
	return all
}

// Every program is deployed, with settings that exist and are right, secrets as files, probes, and the time to shut down.
func TestDeployments(t *testing.T) {
	t.Parallel()
	m := build(t, "shop")
	keys := slices.Concat(config.Keys(), programs.Keys())
	require.Len(t, m.deployments, len(programs.All()))
	for _, p := range programs.All() {
		name := p.Service.Name() + "d"
		d := m.deployments[name]
		require.NotNil(t, d, name)
		pod := d.Spec.Template.Spec
		require.Len(t, pod.Containers, 1, name)
		c := pod.Containers[0]
		require.Equal(t, "registry.example.com/shop/"+name+":0.1.0", c.Image)
		env := m.environment(t, c)
		for variable, value := range env {
			i := slices.IndexFunc(keys, func(k config.Key) bool { return k.EnvName() == variable })
			require.GreaterOrEqual(t, i, 0, "%s: there is no setting %s", name, variable)
			require.False(t, keys[i].Secret, "%s: %s is a secret, and has to be a file", name, variable)
			if strings.HasSuffix(variable, "_FILE") {
				require.True(t, mounted(c, value), "%s: %s=%s is in no volume", name, variable, value)
				continue
			}
			if slices.ContainsFunc(config.Keys(), func(k config.Key) bool { return k.Name == keys[i].Name }) {
				_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{keys[i].Name: value}})
				require.NoError(t, err, variable)
			}
		}
		for key := range p.Defaults {
			if strings.HasSuffix(key, ".address") { // by default, only programs on the same machine reach it
				require.Contains(t, env, config.Key{Name: key}.EnvName(), name)
			}
		}
		require.Equal(t, p.Service.Name(), env["LEVERET_BROKER_USERNAME"])
		var secrets []string
		for _, v := range pod.Volumes {
			if v.Secret != nil {
				secrets = append(secrets, v.Secret.SecretName)
			}
		}
		require.Contains(t, secrets, p.Service.Name()+"-broker")
		if env["LEVERET_TLS_CERT_FILE"] != "" {
			require.Contains(t, secrets, p.Service.Name()+"-tls")
		}

		drain, delay := duration(t, env["LEVERET_WORKER_DRAIN_TIMEOUT"]), duration(t, env["LEVERET_HEALTH_DRAIN_DELAY"])
		grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
		require.Greater(t, grace, delay+2*drain+15*time.Second, name)
		require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path)
		require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
		require.Equal(t, c.LivenessProbe.HTTPGet.Port.StrVal, portOf(c, env["LEVERET_HEALTH_ADDRESS"]))
		require.Equal(t, c.ReadinessProbe.HTTPGet.Port, c.LivenessProbe.HTTPGet.Port)
		require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem && *pod.SecurityContext.RunAsNonRoot && !*pod.AutomountServiceAccountToken, name)
		require.NotZero(t, c.Resources.Limits.Memory().Value())

		require.Equal(t, d.Spec.Template.Labels["app.kubernetes.io/name"], d.Spec.Selector.MatchLabels["app.kubernetes.io/name"])
		budget := m.budgets[name]
		require.NotNil(t, budget, name)
		require.True(t, selects(t, budget.Spec.Selector, d), name)
		require.Greater(t, int(*d.Spec.Replicas), budget.Spec.MaxUnavailable.IntValue(), "%s: nothing would be left", name)

		service := m.services[name]
		serves := env["LEVERET_HTTP_ADDRESS"] != "" || env["LEVERET_GRPC_ADDRESS"] != ""
		require.Equal(t, serves, service != nil, "%s: a Service, if and only if it serves", name)
		if serves {
			require.True(t, selects(t, &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, d), name)
			for _, port := range service.Spec.Ports {
				require.Equal(t, port.TargetPort.StrVal, portOf(c, env["LEVERET_"+strings.ToUpper(port.Name)+"_ADDRESS"]), name)
				if service.Spec.ClusterIP == corev1.ClusterIPNone { // its port is that of the pods
					require.Equal(t, port.TargetPort.StrVal, portOf(c, fmt.Sprintf(":%d", port.Port)), name)
				}
			}
		}
	}
	for variable, value := range m.configMaps["leveret"].Data {
		if !strings.HasPrefix(variable, "LEVERET_PEERS_") {
			continue
		}
		host, port, ok := strings.Cut(value[strings.LastIndex(value, "/")+1:], ":")
		require.True(t, ok, value)
		require.NotNil(t, m.services[host], "%s=%s", variable, value)
		require.True(t, slices.ContainsFunc(m.services[host].Spec.Ports, func(p corev1.ServicePort) bool { return fmt.Sprint(p.Port) == port }), value)
	}
	for _, p := range m.policies {
		selected := 0
		for _, d := range m.deployments {
			if selects(t, &p.Spec.PodSelector, d) {
				selected++
			}
		}
		require.NotZero(t, selected, p.Name)
	}
}

// With KEDA, replicas follow queues that exist, of the service that is scaled, and no number of them stands in a manifest.
func TestScaling(t *testing.T) {
	t.Parallel()
	m := build(t, "keda")
	require.Len(t, m.deployments, len(programs.All()))
	queuesOf := map[string][]string{}
	for _, p := range programs.All() {
		var events []string // and commands: what waits without a caller
		for _, q := range p.Service.WorkQueues(topology.Names{Layout: topology.Isolated}) {
			if q.DeadLetters != "" {
				events = append(events, q.Name)
			}
		}
		if len(events) > 0 {
			queuesOf[p.Service.Name()+"d"] = events
		}
	}
	require.Len(t, m.scaled, len(queuesOf))
	for name, wanted := range queuesOf {
		require.Nil(t, m.deployments[name].Spec.Replicas, name)
		spec := m.scaled[name]["spec"].(map[string]any)
		require.Equal(t, name, spec["scaleTargetRef"].(map[string]any)["name"])
		budget := m.budgets[name]
		require.Greater(t, int(spec["minReplicaCount"].(float64)), budget.Spec.MaxUnavailable.IntValue(), name)
		var found []string
		for _, trigger := range spec["triggers"].([]any) {
			found = append(found, trigger.(map[string]any)["metadata"].(map[string]any)["queueName"].(string))
		}
		require.ElementsMatch(t, wanted, found, name)
	}
}

// A mistake is found: a field that does not exist, in objects of Kubernetes and of KEDA.
func TestMistakes(t *testing.T) {
	t.Parallel()
	require.Error(t, yaml.UnmarshalStrict([]byte("kind: Deployment\nspec: { replicaz: 2 }\n"), new(appsv1.Deployment)))
	scaling, err := os.ReadFile("keda/scaling.yaml")
	require.NoError(t, err)
	first := bytes.Split(scaling, []byte("---\n"))[1]
	_, err = valid(first, "scaledobjects")
	require.NoError(t, err)
	for _, wrong := range []string{"minReplicaCounts: 2", `minReplicaCount: "two"`} {
		object := bytes.Replace(first, []byte("minReplicaCount: 2"), []byte(wrong), 1)
		require.NotEqual(t, first, object)
		_, err := valid(object, "scaledobjects")
		require.Error(t, err, wrong)
	}
}

// mounted reports whether a file of a container is in one of its volumes.
func mounted(c corev1.Container, file string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return path.Dir(file) == m.MountPath && m.ReadOnly })
}

// portOf returns the name of the container's port that an address has.
func portOf(c corev1.Container, address string) string {
	i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return fmt.Sprintf(":%d", p.ContainerPort) == address })
	if i < 0 {
		return "none"
	}
	return c.Ports[i].Name
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// selects reports whether a selector finds the pods of a deployment.
func selects(t *testing.T, selector *metav1.LabelSelector, d *appsv1.Deployment) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return !s.Empty() && s.Matches(labels.Set(d.Spec.Template.Labels))
}
