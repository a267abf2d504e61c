package service
import ("context";"testing"
 "go.opentelemetry.io/otel/attribute"
 "go.opentelemetry.io/otel/trace"
 sdktrace "go.opentelemetry.io/otel/sdk/trace"
 "go.opentelemetry.io/otel/propagation"
 "go.opentelemetry.io/otel/trace/noop"
)
var zo = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attribute.String("a","b"),attribute.String("c","d"),attribute.String("e","f"),attribute.String("g","h")), trace.WithAttributes(attribute.String("k","v"))}
func zb(b *testing.B, tp trace.TracerProvider, in bool){
 tr := tp.Tracer("x"); b.ReportAllocs()
 p := propagation.TraceContext{}
 base := context.Background()
 if in { base, _ = newTraceIDs().Tracer("r").Start(base, "r") }
 for b.Loop() {
  ctx, s := tr.Start(base,"publish x", zo...)
  c := propagation.MapCarrier{}
  p.Inject(ctx,c)
  if s.IsRecording(){ s.SetAttributes(attribute.String("i","j"),attribute.String("l","m"),attribute.Int("n",1))}
  s.End()
  ctx = p.Extract(context.Background(), c)
  o := append(zo[:len(zo):len(zo)], trace.WithLinks(trace.Link{SpanContext: trace.SpanContextFromContext(ctx)}))
  _, s = tr.Start(ctx,"process x", o...)
  if s.IsRecording(){ s.SetAttributes(attribute.String("i","j"),attribute.String("l","m"),attribute.Int("n",1))}
  s.End()
 }
}
func BenchmarkZNoop(b *testing.B){zb(b, noop.NewTracerProvider(), false)}
func BenchmarkZIDsRoot(b *testing.B){zb(b, newTraceIDs(), false)}
func BenchmarkZIDsIn(b *testing.B){zb(b, newTraceIDs(), true)}
func BenchmarkZSDKRoot(b *testing.B){zb(b, sdktrace.NewTracerProvider(), false)}
func BenchmarkZSDKIn(b *testing.B){zb(b, sdktrace.NewTracerProvider(), true)}
