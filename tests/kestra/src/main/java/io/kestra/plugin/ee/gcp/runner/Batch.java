package io.kestra.plugin.ee.gcp.runner;

import io.kestra.core.models.annotations.Plugin;
import io.kestra.core.models.property.Property;
import io.kestra.core.models.tasks.runners.TaskCommands;
import io.kestra.core.models.tasks.runners.TaskRunner;
import io.kestra.core.models.tasks.runners.TaskRunnerDetailResult;
import io.kestra.core.models.tasks.runners.TaskRunnerResult;
import io.kestra.core.models.tasks.runners.RemoteRunnerInterface;
import io.kestra.core.runners.RunContext;
import io.kestra.plugin.core.runner.Process;
import io.kestra.plugin.scripts.exec.scripts.runners.CommandsWrapper;
import io.micronaut.core.annotation.Introspected;
import jakarta.validation.constraints.NotNull;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Stands in for Kestra Enterprise's Google Batch runner: its type name and its documented properties, so that strict validation refuses any
 * other (https://kestra.io/docs/task-runners/types/google-batch-task-runner and the plugin's page named there). It runs the entry point and the
 * commands as a process of this machine, in the task's folder.
 */
@Plugin
@Introspected(accessKind = {Introspected.AccessKind.FIELD, Introspected.AccessKind.METHOD})
public class Batch extends TaskRunner<TaskRunnerDetailResult> implements RemoteRunnerInterface {
    public String projectId;
    public String serviceAccount;
    public List<String> scopes;

    @NotNull
    public String region;

    @NotNull
    public String machineType = "e2-medium";

    public Map<String, String> computeResource;
    public String reservation;
    public List<String> entryPoint;
    public List<Map<String, String>> networkInterfaces;
    public String bucket;
    public Duration waitUntilCompletion;
    public Boolean delete;
    public Boolean resume;
    public Duration completionCheckInterval;
    public Duration waitForLogInterval;
    public Integer maxRetryCount;
    public List<Object> lifecyclePolicies;
    private Property<Boolean> syncWorkingDirectory;

    @Override
    public Property<Boolean> getSyncWorkingDirectory() {
        return syncWorkingDirectory;
    }

    @Override
    protected Map<String, Object> runnerAdditionalVars(RunContext runContext, TaskCommands commands) {
        return Map.of("workingDir", commands.getWorkingDirectory());
    }

    @Override
    public TaskRunnerResult<TaskRunnerDetailResult> run(RunContext runContext, TaskCommands commands, List<String> filesToDownload) throws Exception {
        runContext.logger().info("Batch: project {}, region {}, machine {}, bucket {}, image {}", runContext.render(projectId), runContext.render(region),
            runContext.render(machineType), runContext.render(bucket), commands.getContainerImage());
        List<String> whole = new ArrayList<>(entryPoint == null ? List.of() : entryPoint);
        whole.addAll(runContext.render(commands.getCommands()).asList(String.class));
        return Process.instance().run(runContext, ((CommandsWrapper) commands).withCommands(Property.ofValue(whole)), filesToDownload);
    }
}
