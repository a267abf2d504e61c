package exp
import ("context";"testing";"time";"os";"strings";"fmt"
"github.com/leveretmq/leveret/pkg/devbroker"
"github.com/leveretmq/leveret/pkg/rabbit"
"github.com/leveretmq/leveret/pkg/topology")
func TestKill(t *testing.T){
 ctx:=context.Background()
 b,err:=devbroker.Start(ctx,devbroker.Config{Private:true}); if err!=nil{t.Fatal(err)}
 defer b.Close(ctx)
 for i:=0;i<6;i++{
 conn,err:=rabbit.Dial(ctx,rabbit.Config{URLs:[]string{b.URL()}}); if err!=nil{t.Fatal(err)}
 q:="q"
 rabbit.NewDeclarer(conn).Declare(ctx, topology.Topology{Queues:[]topology.Queue{{Name:q,Args:map[string]any{"x-queue-type":"quorum"}}}})
 p:=rabbit.NewPublisher(conn,rabbit.PublisherConfig{})
 done:=make(chan struct{})
 go func(){ defer close(done); c,cancel:=context.WithTimeout(ctx,2*time.Second);defer cancel(); l:=p.Pipeline(); for c.Err()==nil{ l.Publish(c,&rabbit.Publication{RoutingKey:q,Publishing:rabbit.Publishing{Body:make([]byte,10),DeliveryMode:2}},nil)}; l.Flush(c)}()
 time.Sleep(500*time.Millisecond)
 b.Kill()
 <-done
 c,cancel:=context.WithTimeout(ctx,time.Second); conn.Close(c); cancel()
 b.Start(ctx)
 begin:=time.Now()
 for time.Since(begin)<20*time.Second{ 
  log,_:=os.ReadFile(b.About().LogFile)
  n:=strings.Count(string(log),"queue 'q' in vhost '/': candidate -> leader")
  if n>0 {fmt.Println(i,"leader after",time.Since(begin)); break}
  time.Sleep(50*time.Millisecond)}
 if time.Since(begin)>=20*time.Second { fmt.Println(i,"no leader in 20s");log,_:=os.ReadFile(b.About().LogFile); for _,l:=range strings.Split(string(log),"\n"){ if strings.Contains(l,"'q'")||strings.Contains(l,"_q")||strings.Contains(l,"ra")&&strings.Contains(l,"log") {fmt.Println(l)}}}
 }
}
