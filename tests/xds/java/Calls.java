import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** What ../calls.py does, in Java. */
public class Calls {
  // See ../calls.py.
  static final long DEADLINE_SECONDS = 20;

  /** Messages as they are. */
  static class Raw implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override
    public byte[] parse(InputStream bytes) {
      try {
        return bytes.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  static String said(Status status) {
    String text = status.getDescription();
    if (status.getCause() != null) {
      text += " " + status.getCause();
    }
    return String.join(" ", (status.getCode() + " " + text).split("\\s+"));
  }

  public static void main(String[] arguments) throws InterruptedException {
    Map<String, String> options = new HashMap<>();
    List<String> targets = new ArrayList<>();
    for (int i = 0; i < arguments.length; i++) {
      if (arguments[i].startsWith("--")) {
        options.put(arguments[i], arguments[++i]);
      } else {
        targets.add(arguments[i]);
      }
    }
    long number = Long.parseLong(options.getOrDefault("--number", "" + Long.MAX_VALUE));
    long pause = Long.parseLong(options.getOrDefault("--pause", "5"));
    String path = options.getOrDefault("--path", "/echo/Call").substring(1);

    var method =
        MethodDescriptor.<byte[], byte[]>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(path)
            .setRequestMarshaller(new Raw())
            .setResponseMarshaller(new Raw())
            .build();
    for (String target : targets) {
      ManagedChannel channel =
          Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
      for (long n = 0; n < number; n++) {
        long began = System.currentTimeMillis();
        String said;
        try {
          var limited = CallOptions.DEFAULT.withDeadlineAfter(DEADLINE_SECONDS, TimeUnit.SECONDS);
          said = new String(ClientCalls.blockingUnaryCall(channel, method, limited, new byte[0]));
        } catch (StatusRuntimeException error) {
          said = said(error.getStatus());
        }
        System.out.println(began + " " + (System.currentTimeMillis() - began) + " " + said);
        Thread.sleep(pause);
      }
      channel.shutdownNow();
    }
  }
}
