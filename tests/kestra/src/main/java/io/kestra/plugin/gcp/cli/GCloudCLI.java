package io.kestra.plugin.gcp.cli;

import io.kestra.core.models.annotations.Plugin;
import io.kestra.core.models.property.Property;
import io.kestra.core.models.tasks.InputFilesInterface;
import io.kestra.core.models.tasks.NamespaceFiles;
import io.kestra.core.models.tasks.NamespaceFilesInterface;
import io.kestra.core.models.tasks.OutputFilesInterface;
import io.kestra.core.models.tasks.RunnableTask;
import io.kestra.core.models.tasks.Task;
import io.kestra.core.models.tasks.runners.TaskRunner;
import io.kestra.core.runners.RunContext;
import io.kestra.plugin.core.runner.Process;
import io.kestra.plugin.scripts.exec.scripts.models.ScriptOutput;
import io.kestra.plugin.scripts.exec.scripts.runners.CommandsWrapper;
import io.micronaut.core.annotation.Introspected;
import jakarta.validation.Valid;
import jakarta.validation.constraints.NotNull;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Stands in for the Google Cloud CLI task, which is not in Maven Central: its type name and its documented properties
 * (https://kestra.io/plugins/plugin-gcp/cli/io.kestra.plugin.gcp.cli.gcloudcli). The real one runs in Docker unless told otherwise; this one
 * is a process, with whatever `gcloud` is on the PATH.
 */
@Plugin
@Introspected(accessKind = {Introspected.AccessKind.FIELD, Introspected.AccessKind.METHOD})
public class GCloudCLI extends Task implements RunnableTask<ScriptOutput>, NamespaceFilesInterface, InputFilesInterface, OutputFilesInterface {
    public Property<String> serviceAccount;
    public Property<String> projectId;

    @NotNull
    public Property<List<String>> commands;

    public Property<Map<String, String>> env;

    @Valid
    public TaskRunner<?> taskRunner = Process.instance();

    public Property<String> containerImage = Property.ofValue("google/cloud-sdk");
    private NamespaceFiles namespaceFiles;
    private Object inputFiles;
    private Property<List<String>> outputFiles;

    @Override
    public NamespaceFiles getNamespaceFiles() {
        return namespaceFiles;
    }

    @Override
    public Object getInputFiles() {
        return inputFiles;
    }

    @Override
    public Property<List<String>> getOutputFiles() {
        return outputFiles;
    }

    @Override
    public ScriptOutput run(RunContext runContext) throws Exception {
        Map<String, String> variables = new HashMap<>();
        if (projectId != null) {
            variables.put("CLOUDSDK_CORE_PROJECT", runContext.render(projectId).as(String.class).orElseThrow());
        }
        variables.putAll(runContext.render(env).asMap(String.class, String.class));
        return new CommandsWrapper(runContext)
            .withTaskRunner(taskRunner)
            .withContainerImage(runContext.render(containerImage).as(String.class).orElseThrow())
            .withInterpreter(Property.ofValue(List.of("/bin/sh", "-c")))
            .withCommands(commands)
            .withEnv(variables)
            .withNamespaceFiles(namespaceFiles)
            .withInputFiles(inputFiles)
            .run();
    }
}
