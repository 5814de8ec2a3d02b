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
public class Batch extends TaskRunner<TaskRunnerDetailResult> implements RemoteRunnerInterface {
    private String projectId;
    private String serviceAccount;
    private List<String> scopes;

    @NotNull
    private String region;

    @NotNull
    private String machineType = "e2-medium";

    private Map<String, String> computeResource;
    private String reservation;
    private List<String> entryPoint;
    private List<Map<String, String>> networkInterfaces;
    private String bucket;
    private Duration waitUntilCompletion;
    private Boolean delete;
    private Boolean resume;
    private Duration completionCheckInterval;
    private Duration waitForLogInterval;
    private Integer maxRetryCount;
    private List<Object> lifecyclePolicies;
    private Property<Boolean> syncWorkingDirectory;

    public Batch() {
    }

    public String getProjectId() {
        return projectId;
    }

    public String getServiceAccount() {
        return serviceAccount;
    }

    public List<String> getScopes() {
        return scopes;
    }

    public String getRegion() {
        return region;
    }

    public String getMachineType() {
        return machineType;
    }

    public Map<String, String> getComputeResource() {
        return computeResource;
    }

    public String getReservation() {
        return reservation;
    }

    public List<String> getEntryPoint() {
        return entryPoint;
    }

    public List<Map<String, String>> getNetworkInterfaces() {
        return networkInterfaces;
    }

    public String getBucket() {
        return bucket;
    }

    public Duration getWaitUntilCompletion() {
        return waitUntilCompletion;
    }

    public Boolean getDelete() {
        return delete;
    }

    public Boolean getResume() {
        return resume;
    }

    public Duration getCompletionCheckInterval() {
        return completionCheckInterval;
    }

    public Duration getWaitForLogInterval() {
        return waitForLogInterval;
    }

    public Integer getMaxRetryCount() {
        return maxRetryCount;
    }

    public List<Object> getLifecyclePolicies() {
        return lifecyclePolicies;
    }

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
