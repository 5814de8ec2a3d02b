package rickandmorty.kestra;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.kestra.core.executor.command.ExecutionCommand;
import io.kestra.core.executor.command.Replay;
import io.kestra.core.executor.command.Restart;
import io.kestra.core.models.executions.Execution;
import io.kestra.core.models.executions.TaskRun;
import io.kestra.core.models.flows.FlowSource;
import io.kestra.core.models.flows.GenericFlow;
import io.kestra.core.queues.DispatchQueueInterface;
import io.kestra.core.repositories.ExecutionRepositoryInterface;
import io.kestra.core.repositories.FlowRepositoryInterface;
import io.kestra.core.repositories.LogDataStoreInterface;
import io.kestra.core.repositories.MetricRepositoryInterface;
import io.kestra.core.runners.FlowInputOutput;
import io.kestra.core.runners.TestRunner;
import io.kestra.core.runners.TestRunnerUtils;
import io.kestra.core.serializers.JacksonMapper;
import io.kestra.core.services.ExecutionOutputService;
import io.kestra.core.services.ExecutionService;
import io.kestra.core.services.FlowService;
import io.kestra.core.services.KVStoreService;
import io.kestra.core.services.TaskOutputService;
import io.kestra.core.storages.kv.KVValueAndMetadata;
import io.kestra.core.utils.Await;
import io.kestra.core.utils.IdUtils;
import io.micronaut.context.ApplicationContext;
import io.micronaut.core.type.Argument;
import io.micronaut.data.model.Pageable;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/** Kestra's engine in one process. One JSON request per line on standard input, one JSON reply per line on standard output, logs on standard error. */
public final class Server {
    private static final String TENANT = "main";
    private static final ObjectMapper JSON = JacksonMapper.ofJson();

    private final ApplicationContext context;

    private Server() throws Exception {
        int port; // the worker talks to its controller over TCP, even in one process
        try (ServerSocket socket = new ServerSocket(0)) {
            port = socket.getLocalPort();
        }
        context = ApplicationContext.builder().deduceEnvironment(false).properties(Map.of(
            "kestra.controller.port", port,
            "kestra.worker.controllers.type", "STATIC",
            "kestra.worker.controllers.static.endpoints", List.of(Map.of("host", "localhost", "port", port))
        )).start();
        bean(TestRunner.class).run();
    }

    @SuppressWarnings("unchecked")
    public static void main(String[] arguments) {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        int status = 0;
        try {
            Server server = new Server();
            out.println("{\"ready\":true}");
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line; (line = in.readLine()) != null; ) {
                Object reply;
                try {
                    reply = server.answer(JSON.readValue(line, Map.class));
                } catch (Throwable error) {
                    reply = Map.of("error", error.getClass().getSimpleName(), "message", String.valueOf(error.getMessage()));
                }
                out.println(JSON.writeValueAsString(reply));
            }
        } catch (Throwable error) {
            error.printStackTrace();
            out.println("{\"ready\":false}");
            status = 1;
        }
        Runtime.getRuntime().halt(status); // an orderly end takes three seconds, and a dead thread would hang it
    }

    private <T> T bean(Class<T> type) {
        return context.getBean(type);
    }

    @SuppressWarnings("unchecked")
    private Object answer(Map<String, Object> request) throws Exception {
        return switch ((String) request.get("op")) {
            case "validate" -> validate((Map<String, String>) request.get("flows"));
            case "create" -> {
                bean(FlowService.class).create(GenericFlow.fromYaml(TENANT, (String) request.get("source")));
                yield Map.of();
            }
            case "kv" -> {
                var store = bean(KVStoreService.class).get(TENANT, (String) request.get("namespace"));
                for (var entry : ((Map<String, Object>) request.get("values")).entrySet()) {
                    if (entry.getValue() == null) {
                        store.delete(entry.getKey());
                    } else {
                        store.put(entry.getKey(), new KVValueAndMetadata(null, entry.getValue()));
                    }
                }
                yield Map.of();
            }
            case "restart" -> {
                command(Restart.from(execution((String) request.get("id")), null));
                yield Map.of();
            }
            case "replay" -> replay(execution((String) request.get("id")), (String) request.get("task"));
            case "start" -> start((String) request.get("namespace"), (String) request.get("flow"), (Map<String, Object>) request.get("inputs"));
            case "kill" -> {
                bean(TestRunnerUtils.class).killExecution(execution((String) request.get("id")));
                yield Map.of();
            }
            case "ended" -> execution((String) request.get("id")).getState().isTerminated();
            case "tree" -> tree((String) request.get("id"));
            case "roots" -> everything().stream()
                .filter(e -> e.getNamespace().equals(request.get("namespace")) && e.getFlowId().equals(request.get("flow")))
                .map(Execution::getId).toList();
            default -> throw new IllegalArgumentException("op");
        };
    }

    /** What POST /flows/validate answers. */
    private Object validate(Map<String, String> flows) {
        var sources = flows.entrySet().stream().map(e -> new FlowSource(e.getKey(), e.getValue())).toList();
        return bean(FlowService.class).validate(TENANT, sources).stream().map(v -> {
            Map<String, Object> found = new LinkedHashMap<>();
            found.put("errors", v.getConstraints());
            found.put("warnings", v.getWarnings());
            found.put("deprecations", v.getDeprecationPaths());
            return found;
        }).toList();
    }

    /** What POST /executions does: reads the inputs, asks the flow's checks, puts the execution in the queue. */
    private Object start(String namespace, String id, Map<String, Object> inputs) throws Exception {
        var flow = bean(FlowRepositoryInterface.class).findById(TENANT, namespace, id, Optional.empty()).orElseThrow();
        var reader = bean(FlowInputOutput.class);
        Execution execution = Execution.newExecution(flow, (f, e) -> reader.readExecutionInputs(f, e, inputs), null, Optional.empty());
        var failed = bean(FlowService.class).getFailedChecks(flow, execution.getInputs());
        if (!failed.isEmpty()) {
            return Map.of("error", "checks", "message", failed.stream().map(c -> c.getMessage()).toList().toString());
        }
        bean(TestRunnerUtils.class).emitAndAwaitExecution(e -> true, execution, Duration.ofSeconds(20));
        return Map.of("id", execution.getId());
    }

    /** What POST /executions/{id}/restart and others of the kind do. */
    @SuppressWarnings("unchecked")
    private void command(ExecutionCommand command) throws Exception {
        context.getBean(Argument.of(DispatchQueueInterface.class, ExecutionCommand.class)).emit(command);
    }

    /** What POST /executions/{id}/replay does: another execution, from a task of this one on. */
    private Object replay(Execution execution, String task) throws Exception {
        String id = IdUtils.create();
        TaskRun run = execution.getTaskRunList().stream().filter(r -> r.getTaskId().equals(task)).findFirst().orElseThrow();
        command(Replay.from(execution, id, run.getId(), null, null));
        Await.until(() -> bean(ExecutionRepositoryInterface.class).findById(TENANT, id).isPresent(), Duration.ofMillis(50), Duration.ofSeconds(20));
        return Map.of("id", id);
    }

    private Execution execution(String id) {
        return bean(ExecutionRepositoryInterface.class).findById(TENANT, id).orElseThrow();
    }

    private List<Execution> everything() {
        return bean(ExecutionRepositoryInterface.class).findAllAsync(TENANT).collectList().block();
    }

    /** An execution and all below it; `terminated`: nothing of it is running, `afterExecution` included. */
    private Object tree(String root) throws Exception {
        List<Execution> members = new ArrayList<>(everything().stream().filter(e -> e.getId().equals(root)
            || e.getLabels().stream().anyMatch(l -> l.key().equals("system.correlationId") && l.value().equals(root))).toList());
        members.sort(Comparator.comparing(e -> e.getState().getStartDate()));
        boolean terminated = true;
        List<Object> described = new ArrayList<>();
        for (Execution execution : members) {
            List<TaskRun> runs = execution.getTaskRunList() == null ? List.of() : execution.getTaskRunList();
            var flow = bean(FlowRepositoryInterface.class).findById(TENANT, execution.getNamespace(), execution.getFlowId(), Optional.empty()).orElseThrow();
            terminated &= bean(ExecutionService.class).isTerminated(flow, execution)
                && runs.stream().allMatch(r -> r.getState().isTerminated());
            described.add(describe(execution, runs));
        }
        return Map.of("terminated", terminated, "executions", described);
    }

    private Map<String, Object> describe(Execution execution, List<TaskRun> runs) throws Exception {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("id", execution.getId());
        found.put("flow", execution.getFlowId());
        found.put("state", execution.getState().getCurrent().name());
        found.put("states", execution.getState().getHistories().stream().map(h -> h.getState().name()).toList());
        found.put("inputs", execution.getInputs());
        found.put("outputs", bean(ExecutionOutputService.class).getOutputs(execution));
        Map<String, Object> labels = new TreeMap<>();
        execution.getLabels().forEach(l -> labels.put(l.key(), l.value()));
        found.put("labels", labels);
        List<Object> tasks = new ArrayList<>();
        for (TaskRun run : runs) {
            tasks.add(Map.of("id", run.getTaskId(), "state", run.getState().getCurrent().name(), "outputs", bean(TaskOutputService.class).getOutputs(run)));
        }
        found.put("tasks", tasks);
        found.put("logs", bean(LogDataStoreInterface.class).findByExecutionId(TENANT, execution.getId(), null).stream()
            .map(l -> Map.of("level", String.valueOf(l.getLevel()), "message", String.valueOf(l.getMessage()))).toList());
        found.put("metrics", bean(MetricRepositoryInterface.class)
            .findByExecutionId(TENANT, execution.getId(), Pageable.from(1, 1000)).stream()
            .map(m -> Map.of("name", m.getName(), "value", m.getValue(), "tags", Optional.ofNullable(m.getTags()).orElse(Map.of()))).toList());
        return found;
    }
}
