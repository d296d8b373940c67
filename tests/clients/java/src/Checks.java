import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.ErrorInfo;
import dev.pointsman.v1.AgentGrpc;
import dev.pointsman.v1.AgentGrpc.AgentBlockingStub;
import dev.pointsman.v1.PickRequest;
import dev.pointsman.v1.WatchServiceRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.concurrent.TimeUnit;

/** gRPC: the details of an error, a deadline, a watch. */
public class Checks {
  static ManagedChannel connect(String variable) {
    String socket = System.getenv(variable);
    return Grpc.newChannelBuilder(socket, InsecureChannelCredentials.create()).build();
  }

  static ErrorInfo info(StatusRuntimeException error) throws Exception {
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        return detail.unpack(ErrorInfo.class);
      }
    }
    return ErrorInfo.getDefaultInstance();
  }

  static PickRequest pick(String service, long waitMillis) {
    int nanos = (int) TimeUnit.MILLISECONDS.toNanos(waitMillis % 1000);
    Duration wait = Duration.newBuilder().setSeconds(waitMillis / 1000).setNanos(nanos).build();
    return PickRequest.newBuilder().setService(service).setWait(wait).build();
  }

  public static void main(String[] arguments) throws Exception {
    ManagedChannel toAgent = connect("POINTSMAN_SOCKET");
    ManagedChannel toSilent = connect("POINTSMAN_SILENT_SOCKET");
    AgentBlockingStub agent = AgentGrpc.newBlockingStub(toAgent);
    AgentBlockingStub silent = AgentGrpc.newBlockingStub(toSilent);

    try {
      agent.pick(pick("crat.shop", 0));
    } catch (StatusRuntimeException error) {
      String near = info(error).getMetadataOrDefault("near", "nothing");
      System.out.println("error " + error.getStatus().getCode() + " " + info(error).getReason() + " " + near);
    }

    try {
      silent.pick(pick("cart.shop", 200));
    } catch (StatusRuntimeException error) {
      System.out.println("wait " + error.getStatus().getCode() + " " + info(error).getReason());
    }

    long began = System.nanoTime();
    try {
      silent.withDeadlineAfter(500, TimeUnit.MILLISECONDS).pick(pick("cart.shop", 5000));
    } catch (StatusRuntimeException error) {
      long millis = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began);
      System.out.println("deadline " + error.getStatus().getCode() + " " + millis + " ms");
    }

    var request = WatchServiceRequest.newBuilder().setService("changing.shop").build();
    var events = agent.watchService(request);
    System.out.println("watch " + events.next().getType() + " " + events.next().getType());
    toAgent.shutdownNow();
    toSilent.shutdownNow();
  }
}
