// Package compare measures what several ways of asking for the same work cost, and what becomes of the work when
// receivers or the broker fail: HTTP, gRPC, request/reply, commands and events, or any others. It makes the load, keeps
// the ledgers and does the statistics. The ways, the processes and the faults are its caller's: see [Way], [Source] and
// [Fault].
//
// A [Comparison] has three passes. Speed measures waiting times, throughput and CPU time; Bytes counts what goes over
// each hop, in a pass of its own, since counting costs time; Faults breaks things under a steady load. What they return
// goes into a [Result], which is JSON, Markdown and a chart.
package compare
